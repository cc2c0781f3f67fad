"""The learned optimizer: NF-Layers on weights and gradients write a correction to Adam's direction."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..layers import SharedNPLinear
from . import _inputs
from ._base import Params, RuleState, UpdateRule


@dataclass(frozen=True)
class NFNRuleConfig:
    """Shape of an `NFNRule`.

    Attributes:
        hidden: Channels between the two NF-Layers.
        initial_lr: Step size of the untrained rule.
    """

    hidden: int = 16
    initial_lr: float = 1e-3


class NFNRule(UpdateRule):
    """`delta = -exp(log_lr + magnitude) * (Adam's direction + correction)`.

    Two `SharedNPLinear` layers read the weight-space tuple of weights, gradients and momenta and
    write two channels an entry, the correction and the log-magnitude. The last layer starts at
    zero, so an untrained rule is Adam at `initial_lr`. The rule runs on any network: it holds no
    shape of the network it trains.

    Args:
        config: Shape of the rule.
    """

    MAX_CORRECTION = 4.0
    MAX_LOG_MAGNITUDE = 6.0

    def __init__(self, config: NFNRuleConfig | None = None) -> None:
        super().__init__()
        self.config = config or NFNRuleConfig()
        hidden, context = self.config.hidden, _inputs.CONTEXT_CHANNELS
        self.read = SharedNPLinear(_inputs.ENTRY_CHANNELS, hidden, context)
        self.write = SharedNPLinear(hidden, 2, context)
        for weight in self.write.parameters():
            nn.init.zeros_(weight)
        self.log_lr = nn.Parameter(torch.tensor(math.log(self.config.initial_lr)))

    def init_slots(self, param: Tensor, batch_dims: int) -> dict[str, Tensor]:
        """Step count, momenta and mean square of the gradient, in float32 at least."""
        return _inputs.init_slots(param, batch_dims)

    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step, see the class."""
        spec = state.spec
        slots = {n: _inputs.accumulate(state.slots[n], grads[n]) for n in params}
        inputs = {n: _inputs.read(spec, n, params[n], grads[n], slots[n]) for n in params}
        dtype = self.log_lr.dtype
        context = {n: i.context.to(dtype) for n, i in inputs.items()}
        entries = {n: i.entries.to(dtype) for n, i in inputs.items()}
        hidden = self.read.apply_channels_first(spec, entries, context)
        hidden = {n: h.relu_() for n, h in hidden.items()}
        out = self.write.apply_channels_first(spec, hidden, context)
        delta = {
            n: spec.unview(n, self._delta(out[n], inputs[n].adam)).to(params[n].dtype)
            for n in params
        }
        return delta, RuleState(slots, spec, state.batch_dims)

    def _delta(self, out: Tensor, adam: Tensor) -> Tensor:
        correction = out[0].clamp(-self.MAX_CORRECTION, self.MAX_CORRECTION)
        magnitude = out[1].clamp(-self.MAX_LOG_MAGNITUDE, self.MAX_LOG_MAGNITUDE) + self.log_lr
        return -magnitude.exp() * (adam + correction)

    @property
    def step_size(self) -> float:
        """Size of an entry's step where the network asks for no change: Adam's learning rate."""
        return math.exp(self.log_lr)

    def get_config(self) -> dict[str, float]:
        """The configuration as plain numbers, as a checkpoint stores it."""
        return asdict(self.config)
