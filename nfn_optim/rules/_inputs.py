"""What an update rule sees: accumulators of the gradient, turned into scale-free channels.

Every channel is unchanged when the loss is multiplied by a constant. Shapes: tensors
`(*batch, *axes)`, channels first `(c, *batch, *axes)`, descriptors `(k, *batch)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .._spec import NetworkSpec
from ._base import Params

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
    """One parameter's tensors, and what makes them scale-free.

    Attributes:
        tensors: Parameter, gradient, square `(*batch, *axes)` and momenta `(3, *batch, *axes)`.
        scales: Factors `(9, *batch, 1, ...)`: bias corrections of momenta and square, inverse
            levels of square, momenta and parameter.
        axes: Number of the parameter's axes.
    """

    tensors: tuple[Tensor, Tensor, Tensor, Tensor]
    scales: Tensor
    axes: int

    def slices(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Channels `(ENTRY_CHANNELS, *batch, *axes)` and Adam's direction, in slices of axis 0."""
        for part in zip(*(tensor.split(size, -self.axes) for tensor in self.tensors), strict=True):
            yield self._channels(*part)

    def _channels(
        self, param: Tensor, grad: Tensor, square: Tensor, momenta: Tensor
    ) -> tuple[Tensor, Tensor]:
        correct, correct_square, level, loudness, size = self.scales.split((3, 1, 1, 3, 1))
        square = square.unsqueeze(0)
        scale = torch.rsqrt(square * correct_square + _TINY)
        normalized = momenta * scale * correct
        spread = 0.5 * torch.log(square * level + 1e-6)
        rest = [grad * scale, param * size, spread]
        channels = torch.cat([normalized, momenta * loudness, *rest]).clamp(-_CLIP, _CLIP)
        return channels, normalized[ADAM]


def read(
    spec: NetworkSpec, params: Params, grads: Params, slots: Mapping[str, dict[str, Tensor]]
) -> tuple[dict[str, Reading], Tensor]:
    """Reads parameters whose slots already hold their gradients, in the order of `params`.

    Returns:
        Readings by name, and descriptors `(CONTEXT_CHANNELS, *batch, parameters)`.
    """
    tensors = {n: _tensors(p, grads[n], slots[n]) for n, p in params.items()}
    sizes = {n: tuple(range(-len(spec.stored[n]), 0)) for n in params}
    step = torch.stack([slots[n]["step"] for n in params], -1)  # (*batch, parameters)
    square = torch.stack(
        [t[2].mean(sizes[n]) if sizes[n] else t[2] for n, t in tensors.items()], -1
    )
    size, loud, loudness = (
        torch.stack([_rms(t[i], sizes[n]) for n, t in tensors.items()], -1) for i in (0, 1, 3)
    )
    corrections = _corrections(step.to(square.dtype))
    level = square * corrections[-1]
    ratios = torch.cat([loudness * corrections[:-1], loud.unsqueeze(0)]) / (level + _TINY).sqrt()
    logs = torch.log(torch.cat([size.unsqueeze(0), ratios]) + 1e-4)
    fixed = step.new_tensor([_fans(spec, n) for n in params]).T
    fixed = fixed.reshape(-1, *(1,) * (step.dim() - 1), len(params)).expand(-1, *step.shape)
    context = torch.cat([_time(step), logs, fixed])
    inverse = corrections[-1] / (level + _TINY)
    factors = [corrections, inverse.unsqueeze(0), 1 / loudness, (1 / size).unsqueeze(0)]
    scales = torch.cat(factors).unbind(-1)  # of (9, *batch)
    readings = {
        n: _reading(spec, n, t, s) for (n, t), s in zip(tensors.items(), scales, strict=True)
    }
    return readings, context


def _tensors(
    param: Tensor, grad: Tensor, slot: dict[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    square = slot["square"]
    return param.to(square.dtype), grad.to(square.dtype), square, slot["momenta"]


def _reading(
    spec: NetworkSpec, name: str, tensors: tuple[Tensor, Tensor, Tensor, Tensor], scales: Tensor
) -> Reading:
    axes = len(spec.shapes[name])
    param, grad, square, momenta = (spec.view(name, tensor) for tensor in tensors)
    factors = scales.reshape(scales.shape + (1,) * axes)
    return Reading((param.unsqueeze(0), grad.unsqueeze(0), square, momenta), factors, axes)


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


def _corrections(step: Tensor) -> Tensor:
    """Adam's bias corrections `1 / (1 - decay^step)` of momenta and square: `(4, *step)`."""
    decays = step.new_tensor((*DECAYS, SQUARE_DECAY)).reshape(-1, *(1,) * step.dim())
    return 1 / (1 - decays**step)


def _rms(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=dims) if dims else x.abs()
    count = math.prod([x.shape[d] for d in dims])
    return (norm * norm / count + _TINY).sqrt()


def _accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
