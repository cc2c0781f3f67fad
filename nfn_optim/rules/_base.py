"""What an optimizer is: a pure function of parameters, gradients and state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree

from ..symmetry import NetworkSpec, SpecError, infer_chain

Params = dict[str, Tensor]
"""Tensors by the name of their parameter: weights, gradients or changes."""

Slots = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class RuleState:
    """State of an update rule: named slots for every parameter, and the spec they belong to.

    A torch pytree whose leaves are the slots. Parameters may carry leading batch axes (many
    networks trained at once); `batch_dims` of them precede the shape that the spec stores.
    """

    slots: Slots
    spec: NetworkSpec
    batch_dims: int = 0


class UpdateRule(nn.Module, ABC):
    """An optimizer as a pure function `(params, grads, state) -> (delta, state)`.

    The module's parameters are the meta-parameters; calling it changes nothing. `delta` is what is
    added to the parameters. `NFNOptimizer` and `meta_train.unroll` are shells around this call.
    """

    @abstractmethod
    def init_slots(self, param: Tensor, batch_dims: int) -> dict[str, Tensor]:
        """Slots of one parameter `(*batch, *stored)` before the first step."""

    @abstractmethod
    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step: `(delta, new state)`; both mappings have the keys of `params`."""

    def heading(self, params: Params, state: RuleState) -> Params:
        """Where the parameters are on their way to: themselves, unless a rule averages."""
        return params

    def init(
        self,
        params: Params,
        spec: NetworkSpec | None = None,
        *,
        num_steps: int | Tensor | None = None,
    ) -> RuleState:
        """State before the first step.

        Args:
            params: Tensors `(*batch, *stored)` by name.
            spec: The network's spec; without one a chain of layers is inferred from the shapes.
            num_steps: Steps that the run will take, one number or `(*batch)` with 0 for not known;
                rules that have no use for it ignore it.

        Raises:
            SpecError: If no spec is given and the shapes form no chain, or a parameter has no axes
                in the spec, or the parameters disagree on the number of batch axes.
        """
        spec = infer_chain({n: tuple(p.shape) for n, p in params.items()}) if spec is None else spec
        missing = [name for name in params if name not in spec.axes]
        if missing:
            raise SpecError(
                f"{len(missing)} of {len(params)} parameters have no axes in the spec: "
                f"{missing[:3]}. Pass the spec of the network these parameters belong to."
            )
        batch_dims = {p.dim() - len(spec.stored[n]) for n, p in params.items()}
        if len(batch_dims) > 1 or min(batch_dims, default=0) < 0:
            raise SpecError(
                "parameters disagree with the spec on the number of axes; stack all of them alike."
            )
        dims = batch_dims.pop() if batch_dims else 0
        slots = {n: self.new_slots(n, p, spec, dims) for n, p in params.items()}
        return RuleState({n: with_length(s, num_steps) for n, s in slots.items()}, spec, dims)

    def new_slots(
        self, name: str, param: Tensor, spec: NetworkSpec, batch_dims: int = 0
    ) -> dict[str, Tensor]:
        """`init_slots` of a parameter of this network; rules may keep more of some."""
        return self.init_slots(param, batch_dims)


def with_length(slots: dict[str, Tensor], num_steps: int | Tensor | None) -> dict[str, Tensor]:
    """Slots of one parameter in a run of so many steps; not every rule wants to know it."""
    if num_steps is None or "num_steps" not in slots:
        return slots
    return {**slots, "num_steps": slots["num_steps"] + num_steps}


def _flatten(state: RuleState) -> tuple[list[Any], tuple[NetworkSpec, int]]:
    return [state.slots], (state.spec, state.batch_dims)


def _unflatten(children: Any, context: Any) -> RuleState:
    return RuleState(next(iter(children)), *context)


_pytree.register_pytree_node(
    RuleState, _flatten, _unflatten, serialized_type_name="nfn_optim.RuleState"
)
