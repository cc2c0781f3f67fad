"""What an update rule sees: accumulators of the gradient, turned into scale-free channels.

Every channel is unchanged when the loss is multiplied by a constant. Shapes: tensors
`(*batch, *axes)`, channels first `(c, *batch, *axes)`, descriptors `(k, *batch)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .._spec import NetworkSpec

DECAYS = (0.5, 0.9, 0.99)
ADAM = 1  # position of the decay that Adam uses
SQUARE_DECAY = 0.999
TIMES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
ENTRY_CHANNELS = 3 + 2 * len(DECAYS)
CONTEXT_CHANNELS = len(TIMES) + 8
_TINY = 1e-24  # added under roots: gradients below its root count as zero
_CLIP = 5.0


def init_slots(param: Tensor, batch_dims: int) -> dict[str, Tensor]:
    """Float32 accumulators: step count `(*batch)`, momenta `(3, *shape)`, squares `(*shape)`."""
    zeros = torch.zeros_like(param, dtype=_accumulator_dtype(param.dtype))
    return {
        "step": torch.zeros(param.shape[:batch_dims], device=param.device),
        "momenta": torch.stack([zeros] * len(DECAYS)),
        "square": zeros,
    }


def accumulate(slot: dict[str, Tensor], grad: Tensor) -> dict[str, Tensor]:
    """The accumulators after one more gradient."""
    momenta, square = slot["momenta"], slot["square"]
    rates = momenta.new_tensor([1 - d for d in DECAYS]).reshape(-1, *(1,) * grad.dim())
    return {
        "step": slot["step"] + 1,
        "momenta": torch.lerp(momenta, grad.to(momenta.dtype), rates),
        "square": torch.lerp(square, (grad * grad).to(square.dtype), 1 - SQUARE_DECAY),
    }


@dataclass(frozen=True)
class Inputs:
    """Inputs of the network for one parameter.

    Attributes:
        entries: `(ENTRY_CHANNELS, *batch, *axes)`.
        context: `(CONTEXT_CHANNELS, *batch)`.
        adam: Adam's direction `(*batch, *axes)`.
    """

    entries: Tensor
    context: Tensor
    adam: Tensor


def read(
    spec: NetworkSpec, name: str, param: Tensor, grad: Tensor, slot: dict[str, Tensor]
) -> Inputs:
    """Channels of one parameter; `slot` already holds `grad`."""
    axes = len(spec.stored[name])
    dims = tuple(range(-axes, 0))
    step = slot["step"]
    param, grad = param.to(slot["square"].dtype), grad.to(slot["square"].dtype)
    momenta = slot["momenta"] * _correction(step, DECAYS, axes)
    square = slot["square"] * _correction(step, (SQUARE_DECAY,), axes)[0]
    scale = torch.rsqrt(square + _TINY)
    normalized = momenta * scale
    level = square.mean(dims, keepdim=True)
    spread = 0.5 * torch.log(square / (level + _TINY) + 1e-6)
    size = _rms(param, dims)
    loudness = _rms(momenta, dims)
    entries = torch.cat(
        [
            normalized.clamp(-_CLIP, _CLIP),
            (momenta / loudness).clamp(-_CLIP, _CLIP),
            torch.stack([grad * scale, param / size, spread]).clamp(-_CLIP, _CLIP),
        ]
    )
    ratios = torch.stack([*loudness, _rms(grad, dims)]) / (level + _TINY).sqrt()
    context = torch.cat([_time(step), _tensor_context(spec, name, size, ratios)])
    return Inputs(spec.view(name, entries), context, spec.view(name, normalized[ADAM]))


def _tensor_context(spec: NetworkSpec, name: str, size: Tensor, ratios: Tensor) -> Tensor:
    """Logarithms of the parameter's size, its gradients' coherence, and its fans; `(8, *batch)`."""
    batch = size.shape[: size.dim() - len(spec.stored[name])]
    logs = torch.log(torch.cat([size.unsqueeze(0), ratios]) + 1e-4).reshape(-1, *batch)
    fixed = logs.new_tensor(_fans(spec, name)).reshape(-1, *(1,) * len(batch))
    return torch.cat([logs, fixed.expand(-1, *batch)])


def _fans(spec: NetworkSpec, name: str) -> list[float]:
    """Log fan-out and fan-in around typical values, and whether an axis is the network's input or output."""
    labels, shape = spec.axes[name], spec.shapes[name]
    fan_out = shape[0] if shape else 1
    fan_in = math.prod(shape[1:])
    at_edge = float(any(label in spec.io for label in labels))
    return [math.log(fan_out / 32), math.log(fan_in / 32), at_edge]


def _time(step: Tensor) -> Tensor:
    scales = step.new_tensor(TIMES).reshape(-1, *(1,) * step.dim())
    return torch.tanh(step / scales - 1)


def _correction(step: Tensor, decays: tuple[float, ...], axes: int) -> Tensor:
    """Adam's bias correction `1 / (1 - decay^step)`: `(decays, *batch, 1, ...)`."""
    base = step.new_tensor(decays).reshape(-1, *(1,) * step.dim())
    return (1 / (1 - base**step)).reshape(-1, *step.shape, *(1,) * axes)


def _rms(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return ((x * x).mean(dims, keepdim=True) + _TINY).sqrt()


def _accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
