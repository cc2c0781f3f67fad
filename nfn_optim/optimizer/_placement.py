"""Finds the place of every parameter in the network: by a spec, a model, or the shapes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..layers.relational import roles_of
from ..symmetry import NetworkSpec, Shape, SpecError, infer_chain, with_alone
from ..symmetry.tracer import describe_failure, trace
from ._coverage import Coverage, Row
from ._groups import names_in, shapes_of

NO_SPEC = NetworkSpec({}, {})


@dataclass
class Placement:
    """The spec that the rule reads, in which every parameter has a place or stands alone.

    Attributes:
        spec: Of all parameters.
        reasons: Why some of them stand alone.
        names: Names of the model's parameters, where there is a model.
        is_final: Whether what is known is of the whole model or by hand, so that nothing extends
            it.
    """

    spec: NetworkSpec = NO_SPEC
    reasons: dict[str, str] = field(default_factory=dict)
    names: dict[Tensor, str] = field(default_factory=dict)
    is_final: bool = False

    @classmethod
    def of(
        cls, shapes: Mapping[str, Shape], model: nn.Module | None, spec: NetworkSpec | None
    ) -> Placement:
        """By a spec, or else by what is read off a model, or else off the shapes.

        Args:
            shapes: Of the optimizer's parameters.
            model: Where they are from, if known.
            spec: Their symmetry, if described by hand.

        Raises:
            SpecError: If the spec describes parameters that there are not, or populations that
                the rule cannot read.
        """
        placement = cls()
        if spec is not None:
            known = shapes if model is None else shapes_of(dict(model.named_parameters()))
            placement = cls.of_spec(spec, known)
        elif model is not None:
            placement = cls.of_module(model)
        placement.names = names_in(model)
        placement.extend({}, {n: s for n, s in shapes.items() if not placement.knows(n)})
        return placement

    @classmethod
    def of_spec(cls, spec: NetworkSpec, shapes: Mapping[str, Shape]) -> Placement:
        """By a spec, which is checked against the shapes of the parameters that there are."""
        for name, stored in spec.stored.items():
            if shapes.get(name) != stored:
                found = f"has shape {shapes[name]}" if name in shapes else "is not there"
                raise SpecError(
                    f"the spec describes a parameter {name!r} of shape {stored}, which {found}. "
                    f"Name parameters as the model does: {', '.join(list(shapes)[:4])}, ..."
                )
        roles_of(spec)  # refuses what the rule cannot read
        placement = cls(spec, is_final=True)
        others = {name: shape for name, shape in shapes.items() if name not in spec.axes}
        placement._leave_alone(others, dict.fromkeys(others, "is not in the spec"))
        return placement

    @classmethod
    def of_module(cls, module: nn.Module) -> Placement:
        """Reads the model; warns where nothing could be read."""
        found = trace(module)
        params = dict(module.named_parameters())
        shapes = shapes_of(params)
        if not found.description.axes and shapes:
            _warn(f"NFNOptimizer reads all parameters alone: {describe_failure(module, found)}")
        spec = NetworkSpec.from_description(found.description)
        of_pairs = {n: "is complex" for n in spec.names if params[n].is_complex()}
        placement = cls(spec.subset(set(spec.names) - set(of_pairs)), is_final=True)
        reasons = {**found.reasons, **of_pairs}
        placement._leave_alone({name: shapes[name] for name in reasons}, reasons)
        return placement

    @property
    def has_places(self) -> bool:
        """Whether any parameter is not alone."""
        return len(self.reasons) < len(self.spec.axes)

    def shape_of(self, name: str) -> Shape:
        """How a parameter is stored."""
        return self.spec.stored[name]

    def knows(self, name: str) -> bool:
        """Whether it is decided how a parameter is read."""
        return name in self.spec.axes

    def extend(self, known: Mapping[str, Shape], added: Mapping[str, Shape]) -> None:
        """Takes parameters in that come without their model: a chain is read off all shapes.

        Where there is none, parameters that are known already keep their place.
        """
        if self.is_final or not added:
            self._leave_alone(added, dict.fromkeys(added, "is not part of the model"))
            return
        try:
            spec = infer_chain({**known, **added})
        except SpecError as error:
            _warn(f"NFNOptimizer reads {len(added)} parameters alone: {error}")
            self._leave_alone(added, dict.fromkeys(added, "shapes form no chain; pass the model"))
            return
        if self.reasons:
            self._leave_alone(added, dict.fromkeys(added, "joined parameters that form no chain"))
        else:
            self.spec = spec

    def rows(self, shapes: Mapping[str, Shape]) -> tuple[Row, ...]:
        """The rows of these parameters in the table."""
        return tuple(Row(n, s, n not in self.reasons, self._why(n)) for n, s in shapes.items())

    def coverage(self, shapes: Mapping[str, Shape]) -> Coverage:
        """The table of these parameters."""
        rows = self.rows(shapes)
        placed = [row.name for row in rows if row.is_placed]
        return Coverage(rows, self.spec.subset(placed) if placed else None)

    def _why(self, name: str) -> str:
        if name in self.reasons:
            return self.reasons[name]
        labels = self.spec.axes[name]
        return " x ".join(label or "ordered" for label in labels) or "a single number"

    def _leave_alone(self, shapes: Mapping[str, Shape], reasons: Mapping[str, str]) -> None:
        if shapes:
            self.spec = with_alone(self.spec, shapes)
            self.reasons.update(reasons)


def spec_of(module: nn.Module) -> NetworkSpec:
    """What `NFNOptimizer(module)` reads: every trained parameter has a place or stands alone.

    Raises:
        TypeError: If one of them is complex.

    Warns:
        UserWarning: As `NFNOptimizer` does.
    """
    trained = {name: param for name, param in module.named_parameters() if param.requires_grad}
    for name, param in trained.items():
        if param.is_complex():
            raise TypeError(
                f"parameter {name!r} is {param.dtype}; meta-training takes real numbers. Keep it "
                "as pairs (..., 2), and use torch.view_as_complex in forward."
            )
    placement = Placement.of(shapes_of(trained), module, None)
    return placement.spec.subset(trained)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=5)
