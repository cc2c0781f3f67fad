"""What the learned rule keeps of a parameter: accumulators of its gradient, and the lead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..symmetry import Shape
from ._fixed import fixed
from .constants import DECAYS, SQUARE_DECAY


class Reads(NamedTuple):
    """What a rule reads of a parameter's gradients so far: what it does not read is not kept.

    Attributes:
        momenta: How many, those that forget fastest.
        square: Whether the mean square.
        steep: Shape of the memory of directions along which they are large; `()` if there is none.
    """

    momenta: int = len(DECAYS)
    square: bool = True
    steep: Shape = ()


ALL = Reads()


def init_slots(param: Tensor, batch_dims: int, reads: Reads = ALL) -> dict[str, Tensor]:
    """Float32 accumulators before the first step.

    Returns:
        `step` count, `num_steps` of the run (0: not known), `size`, the root mean square of the
        parameter at the start, `loud` and `loudest`, see `follow`, `opened`, see
        `opened_further`, `agreed` and `asked`, see `_agreement`, `(*batch)`; `momenta`
        `(reads.momenta, *shape)`, `lead` of the fast iterate and, if it is read, `square` over the
        parameter `(*shape)`; `steep` `(*batch, *reads.steep)` if something is remembered.
    """
    zeros = torch.zeros_like(param, dtype=_accumulator_dtype(param.dtype))
    count = torch.zeros(param.shape[:batch_dims], dtype=torch.float32, device=param.device)
    norm = norm_of(param.detach().to(zeros.dtype), tuple(range(batch_dims, param.dim())))
    one = zeros.clone().unsqueeze(0)
    return {
        "step": count,
        "num_steps": count.clone(),
        "size": norm / math.sqrt(max(1, math.prod(param.shape[batch_dims:]))),
        "loud": torch.zeros_like(norm),
        "loudest": torch.zeros_like(norm),
        "opened": torch.zeros_like(norm),
        "agreed": torch.zeros_like(norm),
        "asked": torch.zeros_like(norm),
        "momenta": one if reads.momenta == 1 else torch.cat([one] * reads.momenta),
        **({"square": zeros.clone()} if reads.square else {}),
        "lead": zeros,
        **({"steep": zeros.new_zeros(*count.shape, *reads.steep)} if reads.steep else {}),
    }


def is_narrow(slot: Mapping[str, Tensor]) -> bool:
    """Whether a parameter's slots are those of a rule that does not read all."""
    momenta = slot.get("momenta")  # whatever a user has made of it
    return isinstance(momenta, Tensor) and momenta.shape[:1] < (len(DECAYS),)


def narrowed(slot: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Slots that are read, of slots of which more was kept.

    Args:
        slot: A parameter's slots.
        like: Slots such as it has to have.
    """
    found = {key: value for key, value in slot.items() if key in like or key != "square"}
    momenta, wanted = found.get("momenta"), like["momenta"]
    if isinstance(momenta, Tensor) and momenta.dim() == wanted.dim() and len(momenta) > len(wanted):
        found["momenta"] = momenta[: len(wanted)]
    return found


def accumulate(slot: dict[str, Tensor], grad: Tensor) -> dict[str, Tensor]:
    """The accumulators after one more gradient."""
    momenta = slot["momenta"]
    grad = grad.to(momenta.dtype)
    rates = fixed([1 - d for d in DECAYS[: len(momenta)]], momenta)
    new = {
        **slot,
        "step": slot["step"] + 1,
        "momenta": torch.lerp(momenta, grad, rates.reshape(-1, *(1,) * grad.dim())),
    }
    if "square" in slot:
        kept = SQUARE_DECAY * slot["square"]
        new["square"] = torch.addcmul(kept, grad, grad, value=1 - SQUARE_DECAY)
    return new


def norm_of(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Root of the sum of squares over some axes; with none, the absolute values."""
    return torch.linalg.vector_norm(x, dim=dims) if dims else x.abs()


def _accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
