"""AdamW for what has no place in a spec: embeddings, attention, parameters of custom modules."""

from __future__ import annotations

import torch
from torch import Tensor

from ..rules import AdamRule, Params, RuleState, UpdateRule
from ..symmetry import NetworkSpec

FALLBACK_LR = 1e-3
NO_SPEC = NetworkSpec({}, {})


class FallbackRule(UpdateRule):
    """Adam at `FALLBACK_LR` with float32 state; epsilon is too small to see the loss's scale."""

    step_size = FALLBACK_LR

    def __init__(self) -> None:
        super().__init__()
        self.adam = AdamRule(FALLBACK_LR, eps=1e-12)

    def init_slots(self, param: Tensor, batch_dims: int) -> dict[str, Tensor]:
        """Those of `AdamRule`."""
        return self.adam.init_slots(_widen(param), batch_dims)

    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step, see `AdamRule`, in the precision of the state."""
        dtypes = {n: state.slots[n]["exp_avg"].dtype for n in params}
        wide = [{n: tensors[n].to(d) for n, d in dtypes.items()} for tensors in (params, grads)]
        delta, state = self.adam(*wide, state)
        return {n: d.to(params[n].dtype) for n, d in delta.items()}, state


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
