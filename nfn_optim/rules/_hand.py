"""Hand-designed optimizers as update rules: oracles for tests, baselines, engines for data sets.

Every hyperparameter may be a tensor `(*batch)`, one value for each network trained at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import Params, RuleState, UpdateRule

Scalar = float | Tensor


def expand(value: Tensor, like: Tensor) -> Tensor:
    """`(*batch)` as `(*batch, 1, ...)`, to multiply a tensor `(*batch, *axes)`."""
    return value.reshape(value.shape + (1,) * (like.dim() - value.dim()))


def _number(value: Scalar) -> Tensor:
    """A hyperparameter as a tensor, whatever torch's default type and device are."""
    if isinstance(value, Tensor):
        return value
    return torch.tensor(value, dtype=torch.float32, device="cpu")


class SGDRule(UpdateRule):
    """Gradient descent with heavy-ball momentum: `torch.optim.SGD`.

    Args:
        lr: Learning rate, a number or one for each network `(*batch)`.
        momentum: Momentum coefficient; the first step uses the plain gradient.
        weight_decay: Coefficient of the L2 term added to the gradient.
    """

    lr: Tensor
    momentum: Tensor
    weight_decay: Tensor

    def __init__(self, lr: Scalar, *, momentum: Scalar = 0.0, weight_decay: Scalar = 0.0) -> None:
        super().__init__()
        self.register_buffer("lr", _number(lr))
        self.register_buffer("momentum", _number(momentum))
        self.register_buffer("weight_decay", _number(weight_decay))

    def init_slots(self, param: Tensor, batch_dims: int) -> dict[str, Tensor]:
        """One momentum buffer."""
        return {"momentum": torch.zeros_like(param)}

    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step, see the class."""
        delta, slots = {}, {}
        for name, param in params.items():
            grad = grads[name] + expand(self.weight_decay, param) * param
            momentum = expand(self.momentum, param) * state.slots[name]["momentum"] + grad
            slots[name] = {"momentum": momentum}
            delta[name] = -expand(self.lr, param) * momentum
        return delta, RuleState(slots, state.spec, state.batch_dims)


class AdamRule(UpdateRule):
    """Adam with decoupled weight decay: `torch.optim.AdamW` (and `Adam` where the decay is zero).

    Args:
        lr: Learning rate, a number or one for each network `(*batch)`.
        betas: Decays of the first and second moment.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay, times `lr`.
    """

    lr: Tensor
    weight_decay: Tensor

    def __init__(
        self,
        lr: Scalar,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Scalar = 0.0,
    ) -> None:
        super().__init__()
        self.betas, self.eps = betas, eps
        self.register_buffer("lr", _number(lr))
        self.register_buffer("weight_decay", _number(weight_decay))

    def init_slots(self, param: Tensor, batch_dims: int) -> dict[str, Tensor]:
        """Step count and two moments."""
        return {
            "step": torch.zeros((), dtype=torch.float32, device=param.device),
            "exp_avg": torch.zeros_like(param),
            "exp_avg_sq": torch.zeros_like(param),
        }

    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step, see the class."""
        delta, slots = {}, {}
        for name, param in params.items():
            delta[name], slots[name] = self._step(param, grads[name], state.slots[name])
        return delta, RuleState(slots, state.spec, state.batch_dims)

    def _step(
        self, param: Tensor, grad: Tensor, slot: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        beta1, beta2 = self.betas
        step = slot["step"] + 1
        mean = torch.lerp(slot["exp_avg"], grad, 1 - beta1)
        square = beta2 * slot["exp_avg_sq"] + (1 - beta2) * grad * grad
        scale = (1 - beta2**step).sqrt() / (1 - beta1**step)
        direction = mean / (square.sqrt() + self.eps * (1 - beta2**step).sqrt()) * scale
        decay = expand(self.weight_decay, param) * param
        delta = -expand(self.lr, param) * (direction + decay)
        return delta, {"step": step, "exp_avg": mean, "exp_avg_sq": square}
