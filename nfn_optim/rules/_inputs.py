"""What an update rule sees: accumulators of the gradient, turned into scale-free channels.

Every channel is unchanged when the loss is multiplied by a constant. Shapes: tensors
`(*batch, *axes)`, channels first `(c, *batch, *axes)`, descriptors `(k, *batch)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
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
    grad = grad.to(square.dtype)
    rates = momenta.new_tensor([1 - d for d in DECAYS]).reshape(-1, *(1,) * grad.dim())
    return {
        "step": slot["step"] + 1,
        "momenta": torch.lerp(momenta, grad, rates),
        "square": torch.addcmul(SQUARE_DECAY * square, grad, grad, value=1 - SQUARE_DECAY),
    }


@dataclass(frozen=True)
class Reading:
    """One parameter's tensors, and the levels that make them scale-free.

    Attributes:
        tensors: Parameter, gradient, square `(*batch, *axes)` and momenta `(3, *batch, *axes)`.
        scales: What multiplies them, `(*batch, 1, ...)`: bias corrections and inverse levels.
        context: Descriptors `(CONTEXT_CHANNELS, *batch)`.
    """

    tensors: tuple[Tensor, Tensor, Tensor, Tensor]
    scales: dict[str, Tensor]
    context: Tensor

    def slices(self, size: int, axes: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Channels `(ENTRY_CHANNELS, *batch, *axes)` and Adam's direction, in slices of axis 0."""
        parts = (tensor.split(size, -axes) if axes else (tensor,) for tensor in self.tensors)
        for param, grad, square, momenta in zip(*parts, strict=True):
            yield self._channels(param, grad, square, momenta)

    def _channels(
        self, param: Tensor, grad: Tensor, square: Tensor, momenta: Tensor
    ) -> tuple[Tensor, Tensor]:
        s = self.scales
        scale = torch.rsqrt(square * s["square"] + _TINY)
        normalized = momenta * scale * s["momenta"]
        spread = 0.5 * torch.log(square * s["level"] + 1e-6)
        rest = [grad * scale, param * s["size"], spread]
        channels = [normalized, momenta * s["loudness"], *(c.unsqueeze(0) for c in rest)]
        return torch.cat(channels).clamp(-_CLIP, _CLIP), normalized[ADAM]


def read(
    spec: NetworkSpec, name: str, param: Tensor, grad: Tensor, slot: dict[str, Tensor]
) -> Reading:
    """Reads one parameter; `slot` already holds `grad`."""
    square, momenta, step = slot["square"], slot["momenta"], slot["step"]
    param, grad = param.to(square.dtype), grad.to(square.dtype)
    axes = len(spec.stored[name])
    dims = tuple(range(-axes, 0))
    corrections = _correction(step, (*DECAYS, SQUARE_DECAY), axes).to(square.dtype)
    level = square.mean(dims, keepdim=True) * corrections[-1]
    loudness = _rms(momenta, dims)
    size = _rms(param, dims)
    ratios = torch.stack([*(loudness * corrections[:-1]), _rms(grad, dims)])
    ratios = ratios / (level + _TINY).sqrt()
    context = torch.cat([_time(step), _tensor_context(spec, name, size, ratios)])
    scales = {
        "square": corrections[-1],
        "momenta": corrections[:-1],
        "level": corrections[-1] / (level + _TINY),
        "loudness": 1 / loudness,
        "size": 1 / size,
    }
    extra = len(spec.shapes[name]) - axes
    scales = {k: v.reshape(v.shape + (1,) * extra) for k, v in scales.items()}
    tensors = (param, grad, square, momenta)
    viewed = [spec.view(name, tensor) for tensor in tensors]
    return Reading((viewed[0], viewed[1], viewed[2], viewed[3]), scales, context)


def _tensor_context(spec: NetworkSpec, name: str, size: Tensor, ratios: Tensor) -> Tensor:
    """Logarithms of the parameter's size, its gradients' coherence, and its fans; `(8, *batch)`."""
    batch = size.shape[: size.dim() - len(spec.stored[name])]
    logs = torch.log(torch.cat([size.unsqueeze(0), ratios]) + 1e-4).reshape(-1, *batch)
    fixed = logs.new_tensor(_fans(spec, name)).reshape(-1, *(1,) * len(batch))
    return torch.cat([logs, fixed.expand(-1, *batch)])


def _fans(spec: NetworkSpec, name: str) -> list[float]:
    """Log fan-out and fan-in around typical values, and whether an axis is an input or output."""
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
    norm = torch.linalg.vector_norm(x, dim=dims, keepdim=True) if dims else x.abs()
    count = math.prod(x.shape[d] for d in dims)
    return (norm * norm / count + _TINY).sqrt()


def _accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
