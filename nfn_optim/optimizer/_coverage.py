"""Which parameters the learned rule drives, which the fallback, and why: as data and as a table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from torch import Tensor, nn

from ..layers.relational import roles_of
from ..symmetry import NetworkSpec, Shape, SpecError, infer_chain
from ..symmetry.tracer import describe_failure, trace
from ._groups import names_in, shapes_of


@dataclass(frozen=True)
class Row:
    """One parameter of the table."""

    name: str
    shape: Shape
    is_nfn: bool
    why: str


@dataclass(frozen=True)
class Coverage:
    """What `NFNOptimizer.coverage()` returns; printed, it is a table.

    Attributes:
        rows: One for each parameter of the optimizer.
        spec: Those that the learned rule drives; None where there are none.
    """

    rows: tuple[Row, ...]
    spec: NetworkSpec | None

    @property
    def share(self) -> float:
        """Share of all entries that the learned rule drives."""
        sizes = [(prod(row.shape), row.is_nfn) for row in self.rows]
        total = sum(size for size, _ in sizes)
        return sum(size for size, is_nfn in sizes if is_nfn) / total if total else 0.0

    def __str__(self) -> str:
        head = ("parameter", "shape", "driven by", "why")
        cells = [
            (row.name, str(row.shape), "NFN" if row.is_nfn else "fallback", row.why)
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in (head, *cells)) for i in range(3)]
        lines = [
            "  ".join((*(c.ljust(w) for c, w in zip(line[:3], widths, strict=True)), line[3]))
            for line in (head, *cells)
        ]
        covered = sum(row.is_nfn for row in self.rows)
        total = sum(prod(row.shape) for row in self.rows)
        lines.append(
            f"{covered} of {len(self.rows)} parameters, {self.share:.1%} of {total} entries, "
            "are driven by the NFN; the others by AdamW."
        )
        return "\n".join(lines)

    __repr__ = __str__


@dataclass
class Assignment:
    """Decides for every parameter whether the learned rule drives it.

    Attributes:
        spec: Parameters that the learned rule drives; None where there are none.
        reasons: Why the others are not in the spec.
        names: Names of the model's parameters, where there is a model.
        is_final: Whether the spec is of the whole model or by hand, so that nothing extends it.
    """

    spec: NetworkSpec | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    names: dict[Tensor, str] = field(default_factory=dict)
    is_final: bool = False

    @classmethod
    def of(
        cls, shapes: Mapping[str, Shape], model: nn.Module | None, spec: NetworkSpec | None
    ) -> Assignment:
        """By a spec, or else by what is read off a model, or else off the shapes.

        Args:
            shapes: Of the optimizer's parameters.
            model: Where they are from, if known.
            spec: Their symmetry, if described by hand.

        Raises:
            SpecError: If the spec describes parameters that there are not, or populations that
                the rule cannot read.
        """
        assignment = cls()
        if spec is not None:
            known = shapes if model is None else shapes_of(dict(model.named_parameters()))
            assignment = cls.of_spec(spec, known)
        elif model is not None:
            assignment = cls.of_module(model)
        else:
            assignment.extend({}, shapes)
        assignment.names = names_in(model)
        return assignment

    @classmethod
    def of_spec(cls, spec: NetworkSpec, shapes: Mapping[str, Shape]) -> Assignment:
        """By a spec, which is checked against the shapes of the parameters that there are."""
        for name, stored in spec.stored.items():
            if shapes.get(name) != stored:
                found = f"has shape {shapes[name]}" if name in shapes else "is not there"
                raise SpecError(
                    f"the spec describes a parameter {name!r} of shape {stored}, which {found}. "
                    f"Name parameters as the model does: {', '.join(list(shapes)[:4])}, ..."
                )
        roles_of(spec)  # refuses what the rule cannot read
        others = dict.fromkeys(shapes.keys() - spec.stored.keys(), "is not in the spec")
        return cls(spec, others, is_final=True)

    @classmethod
    def of_module(cls, module: nn.Module) -> Assignment:
        """Reads the model; warns where nothing could be read."""
        found = trace(module)
        if found.description.axes:
            spec = NetworkSpec.from_description(found.description)
            return cls(spec, dict(found.reasons), is_final=True)
        if any(True for _ in module.parameters()):
            _warn(f"NFNOptimizer drives all parameters by AdamW: {describe_failure(module, found)}")
        return cls(None, dict(found.reasons), is_final=True)

    def covers(self, name: str) -> bool:
        """Whether the learned rule drives a parameter."""
        return self.spec is not None and name in self.spec.axes

    def shape_of(self, name: str) -> Shape | None:
        """How the spec says that a parameter is stored; None for those that are not in it."""
        return None if self.spec is None else self.spec.stored.get(name)

    def knows(self, name: str) -> bool:
        """Whether it is decided what drives a parameter."""
        return self.covers(name) or name in self.reasons

    def extend(self, known: Mapping[str, Shape], added: Mapping[str, Shape]) -> None:
        """Takes parameters in that come without their model: a chain is read off all shapes.

        Where there is none, parameters that are known already keep what drives them.
        """
        if self.is_final:
            self.reasons.update(dict.fromkeys(added, "is not part of the model"))
            return
        if not added:
            return
        try:
            spec = infer_chain({**known, **added})
        except SpecError as error:
            self.reasons.update(dict.fromkeys(added, "shapes form no chain; pass the model"))
            _warn(f"NFNOptimizer drives {len(added)} parameters by AdamW: {error}")
        else:
            if self.spec is not None or not known:
                self.spec = spec
            else:
                self.reasons.update(dict.fromkeys(added, "joined parameters that form no chain"))

    def coverage(self, shapes: Mapping[str, Shape]) -> Coverage:
        """The table of these parameters."""
        rows = tuple(Row(n, shape, self.covers(n), self.why(n)) for n, shape in shapes.items())
        covered = [row.name for row in rows if row.is_nfn]
        spec = self.spec.subset(covered) if self.spec is not None and covered else None
        return Coverage(rows, spec)

    def why(self, name: str) -> str:
        """What a parameter runs over, or why it is not in the spec."""
        if self.spec is None or name not in self.spec.axes:
            return self.reasons.get(name, "is not part of the model")
        labels = self.spec.axes[name]
        return " x ".join(label or "ordered" for label in labels) or "a single number"


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=5)
