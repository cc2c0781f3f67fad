"""What the learned rule keeps of a parameter: accumulators of its gradient, and the lead."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._fixed import fixed
from .constants import DECAYS, SQUARE_DECAY


def init_slots(param: Tensor, batch_dims: int) -> dict[str, Tensor]:
    """Float32 accumulators before the first step.

    Returns:
        `step` count, `num_steps` of the run (0: not known), `size`, the root mean square of the
        parameter at the start, `loud` and `loudest`, see `follow`, and `opened`, see
        `opened_further`, `(*batch)`; `momenta` `(3, *shape)`, `square` and `lead` of the fast
        iterate over the parameter `(*shape)`.
    """
    zeros = torch.zeros_like(param, dtype=_accumulator_dtype(param.dtype))
    count = torch.zeros(param.shape[:batch_dims], dtype=torch.float32, device=param.device)
    norm = norm_of(param.detach().to(zeros.dtype), tuple(range(batch_dims, param.dim())))
    return {
        "step": count,
        "num_steps": count.clone(),
        "size": norm / math.sqrt(max(1, math.prod(param.shape[batch_dims:]))),
        "loud": torch.zeros_like(norm),
        "loudest": torch.zeros_like(norm),
        "opened": torch.zeros_like(norm),
        "momenta": torch.stack([zeros] * len(DECAYS)),
        "square": zeros,
        "lead": zeros.clone(),
    }


def accumulate(slot: dict[str, Tensor], grad: Tensor) -> dict[str, Tensor]:
    """The accumulators after one more gradient."""
    momenta, square = slot["momenta"], slot["square"]
    grad = grad.to(square.dtype)
    rates = fixed([1 - d for d in DECAYS], momenta).reshape(-1, *(1,) * grad.dim())
    return {
        **slot,
        "step": slot["step"] + 1,
        "momenta": torch.lerp(momenta, grad, rates),
        "square": torch.addcmul(SQUARE_DECAY * square, grad, grad, value=1 - SQUARE_DECAY),
    }


def norm_of(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Root of the sum of squares over some axes; with none, the absolute values."""
    return torch.linalg.vector_norm(x, dim=dims) if dims else x.abs()


def _accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
