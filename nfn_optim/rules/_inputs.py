"""What an update rule sees: its slots, turned into scale-free channels.

Every channel is unchanged when the loss is multiplied by a constant. Shapes: tensors
`(*batch, *axes)`, channels first `(c, *batch, *axes)`, descriptors `(k, *batch)`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import hardtanh_

from ..symmetry import NetworkSpec
from ._base import Params
from ._direction import Spectral
from ._fading import follow, log_fading
from ._hand import expand
from ._opening import agreement, opened_further
from ._relative import default_sizes, fan_in_of
from ._slots import norm_of
from .constants import (
    CLIP,
    DECAYS,
    LAST,
    SCALARS,
    SQUARE_DECAY,
    TIMES,
    TINY,
    TYPICAL_FAN,
)


@dataclass(frozen=True)
class Reading:
    """One parameter's tensors, and what makes them scale-free.

    Attributes:
        tensors: Parameter, gradient, square `(1, *batch, *axes)`, momenta `(3, *batch, *axes)`,
            and the direction `(1, *batch, *axes)` where it is not Adam's.
        scales: Factors `(9, *batch, 1, ...)`: bias corrections of momenta and square, inverse
            levels of square, momenta and parameter.
        axes: Number of the parameter's axes.
    """

    tensors: tuple[Tensor, ...]
    scales: Tensor
    axes: int

    def slices(self, size: int) -> Iterator[Tensor]:
        """Channels `(ENTRY_CHANNELS, *batch, *axes)` in slices of the outputs."""
        if size >= self.tensors[0].shape[-self.axes]:
            yield self._channels(*self.tensors)
            return
        for part in zip(*(tensor.split(size, -self.axes) for tensor in self.tensors), strict=True):
            yield self._channels(*part)

    def _channels(
        self, param: Tensor, grad: Tensor, square: Tensor, momenta: Tensor, *direction: Tensor
    ) -> Tensor:
        correct, correct_square, level, loudness, size = self.scales.split_with_sizes(
            (3, 1, 1, 3, 1)
        )
        scale = (square * correct_square).add_(TINY).rsqrt_()
        spread = (square * level).add_(1e-6).log_().mul_(0.5)
        normalized = (momenta * scale).mul_(correct)
        first = direction[0] if direction else normalized[:1]
        rest = (grad * scale, normalized, momenta * loudness, param * size, spread)
        return hardtanh_(torch.cat((first, *rest)), -CLIP, CLIP)  # clamp_ has no rule under vmap


@dataclass(frozen=True)
class Descriptors:
    """What the pace of whole parameters depends on.

    Attributes:
        schedule: How far the run is, and the fans `(SCHEDULE_CHANNELS, *batch, parameters)`;
            nothing that steps can change, or a large step could ask for a larger one.
        trend: How much gradients agree, over tens and over hundreds of steps, and how much of the
            largest is left, as logs `(TREND_CHANNELS, *batch, parameters)`. Steps change it, so it
            is bounded: what they can ask for is, too.
        step: Steps of the run so far `(*batch, parameters)`.
        start: Root mean square of the parameters before the first step, likewise.
        default: What it is by default `(parameters)`, see `default_sizes`.
        dealt: Log of what is left of step sizes where matrices are dealt, likewise.
        loud: Slots after this step `(*batch, parameters)`, see `follow`.
        loudest: Likewise.
        opened: Likewise, see `opened_further`.
    """

    schedule: Tensor
    trend: Tensor
    step: Tensor
    start: Tensor
    default: Tensor
    dealt: Tensor
    loud: Tensor
    loudest: Tensor
    opened: Tensor

    def slots(self, parameter: int) -> dict[str, Tensor]:
        """Those of one parameter."""
        found = {"loud": self.loud, "loudest": self.loudest, "opened": self.opened}
        return {key: value[..., parameter] for key, value in found.items()}

    @property
    def log_fan_in(self) -> Tensor:
        """Log of the fan-in over a typical one, like `step`."""
        return self.schedule[-2]

    @property
    def log_fan_out(self) -> Tensor:
        """Log of the fan-out, likewise."""
        return self.schedule[-3]


def read(
    spec: NetworkSpec,
    params: Params,
    grads: Params,
    slots: Mapping[str, dict[str, Tensor]],
    direction: Spectral,
    largest: float,
    first_share: float,
) -> tuple[dict[str, Reading], Tensor, Descriptors]:
    """Reads parameters whose slots already hold their gradients, in the order of `params`.

    Args:
        spec: The network's spec.
        params: Its parameters.
        grads: Their gradients.
        slots: Their accumulators.
        direction: Where steps point.
        largest: Root mean square as which larger parameters are shown.
        first_share: What the first steps are of their full size.

    Returns:
        Each parameter's reading, the context of layers, which is sizes, loudness and fans
        `(CONTEXT_CHANNELS, *batch, parameters)`, and what is known of paces.
    """
    tensors = {n: _tensors(p, grads[n], slots[n]) for n, p in params.items()}
    sizes = {n: tuple(range(-len(spec.stored[n]), 0)) for n in params}
    step = torch.stack([slots[n]["step"] for n in params], -1)  # (*batch, parameters)
    square = torch.stack(
        [t[2].mean(sizes[n]) if sizes[n] else t[2] for n, t in tensors.items()], -1
    )
    counts = _counts(spec, params, square)
    size, last, loudness = (
        _rms(_norms({n: t[i] for n, t in tensors.items()}, sizes), counts) for i in (0, 1, 3)
    )
    corrections = _corrections(step.to(square.dtype))
    level = square * corrections[-1]
    ratios = torch.cat([loudness * corrections[:-1], last.unsqueeze(0)]) / (level + TINY).sqrt()
    shown = size.clamp(max=largest).unsqueeze(0)
    logs = torch.log(torch.cat([shown, ratios]) + 1e-4)
    context = torch.cat([logs, _fixed(spec, params, step)])
    inverse = corrections[-1] / (level + TINY)
    factors = [corrections, inverse.unsqueeze(0), 1 / loudness, (1 / size).unsqueeze(0)]
    scales = torch.cat(factors).unbind(-1)  # of (9, *batch)
    views = {n: tuple(spec.view(n, tensor) for tensor in t) for n, t in tensors.items()}
    pointed = direction(spec, {n: momenta[0] for n, (*_, momenta) in views.items()})
    readings = {
        n: _reading(len(spec.shapes[n]), view, pointed.get(n), s)
        for (n, view), s in zip(views.items(), scales, strict=True)
    }
    steadiness = logs[2:4] - logs[1:2]
    loud = loudness[0] * corrections[0]
    known = _describe(spec, grads, slots, direction, first_share, loud, steadiness)
    return readings, context, known


def point(
    spec: NetworkSpec,
    grads: Params,
    slots: Mapping[str, dict[str, Tensor]],
    direction: Spectral,
    first_share: float,
) -> tuple[dict[str, Tensor], Descriptors]:
    """Directions of parameters, and what is known of paces, where nothing else is read.

    Arguments are as for `read`, in the order of `grads`.

    Returns:
        Directions `(*batch, *axes)`, and what is known; how steady gradients are is not.
    """
    momenta = {n: slots[n]["momenta"][0] for n in grads}
    step = torch.stack([slots[n]["step"] for n in grads], -1)
    sizes = {n: tuple(range(-len(spec.stored[n]), 0)) for n in grads}
    norms = _norms(momenta, sizes)
    corrections = _corrections(step.to(norms.dtype))
    loud = _rms(norms, _counts(spec, grads, norms)) * corrections[0]
    steadiness = loud.new_zeros(len(DECAYS) - 1, *loud.shape)
    known = _describe(spec, grads, slots, direction, first_share, loud, steadiness)
    views = {n: spec.view(n, momentum) for n, momentum in momenta.items()}
    pointed = direction(spec, views)
    for i, (name, view) in enumerate(views.items()):
        if name not in pointed:
            correct, correct_square = (expand(corrections[k][..., i], view) for k in (0, -1))
            square = spec.view(name, slots[name]["square"])
            pointed[name] = view * (square * correct_square + TINY).rsqrt() * correct
    return {n: hardtanh_(pointed[n], -CLIP, CLIP) for n in views}, known


def _describe(
    spec: NetworkSpec,
    grads: Params,
    slots: Mapping[str, dict[str, Tensor]],
    direction: Spectral,
    first_share: float,
    loudness: Tensor,
    steadiness: Tensor,
) -> Descriptors:
    """What is known of paces.

    Args:
        spec: The network's spec.
        grads: Gradients.
        slots: The parameters' accumulators.
        direction: Where steps point.
        first_share: What the first steps are of their full size.
        loudness: Root mean square of the shortest momentum, without its bias
            `(*batch, parameters)`.
        steadiness: Logs of that of the longer ones over it `(2, *batch, parameters)`.
    """
    names = list(grads)
    step, num_steps, start, loud, loudest, opened = (
        torch.stack([slots[n][key] for n in names], -1) for key in SCALARS
    )
    schedule = torch.cat([_time(step), _left(step, num_steps), _fixed(spec, names, step)])
    loud, loudest = follow(loud, loudest, loudness, step)
    if first_share < 1:
        sizes = {n: tuple(range(-len(spec.stored[n]), 0)) for n in names}
        leads = {n: slots[n]["lead"] for n in names}
        last = {n: grads[n].to(leads[n].dtype) for n in names}
        opened = opened_further(opened, _agreement(last, leads, sizes), first_share)
    left = log_fading(loud, loudest, 1).unsqueeze(0)
    return Descriptors(
        schedule,
        torch.cat([steadiness, left]).clamp(-CLIP, CLIP),
        step,
        start,
        start.new_tensor(default_sizes(spec, names, direction.matrices(spec))),
        start.new_tensor(direction.log_shares(spec, names, start.device.type)),
        loud,
        loudest,
        opened,
    )


def _norms(tensors: Mapping[str, Tensor], dims: Mapping[str, tuple[int, ...]]) -> Tensor:
    """Norms over the axes of parameters, `(..., parameters)`."""
    return torch.stack([norm_of(tensor, dims[n]) for n, tensor in tensors.items()], -1)


def _counts(spec: NetworkSpec, names: Iterable[str], like: Tensor) -> Tensor:
    """Entries of each parameter."""
    return like.new_tensor([math.prod(spec.shapes[n]) for n in names])


def _fixed(spec: NetworkSpec, names: Collection[str], step: Tensor) -> Tensor:
    """`log_fans` of each parameter, `(3, *batch, parameters)` like the steps so far."""
    fixed = step.new_tensor([log_fans(spec, n) for n in names]).T
    return fixed.reshape(-1, *(1,) * (step.dim() - 1), len(names)).expand(-1, *step.shape)


def _tensors(
    param: Tensor, grad: Tensor, slot: dict[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    square = slot["square"]
    return param.to(square.dtype), grad.to(square.dtype), square, slot["momenta"]


def _reading(
    axes: int, views: tuple[Tensor, ...], pointed: Tensor | None, scales: Tensor
) -> Reading:
    *single, momenta = views
    directions = () if pointed is None else (pointed.unsqueeze(0),)
    tensors = (*(tensor.unsqueeze(0) for tensor in single), momenta, *directions)
    return Reading(tensors, scales.reshape(scales.shape + (1,) * axes), axes)


def log_fans(spec: NetworkSpec, name: str) -> list[float]:
    """Log fan-out and fan-in around typical values, and whether an axis is an input or output.

    Of a parameter that is several maps they are those of one map.
    """
    labels, shape = spec.axes[name], spec.shapes[name]
    fan_out = shape[0] if shape else 1
    at_edge = float(any(label in spec.io for label in labels))
    fans = (fan_out, fan_in_of(spec, name))
    return [*(math.log(max(1, fan) / TYPICAL_FAN) for fan in fans), at_edge]


def _time(step: Tensor) -> Tensor:
    scales = step.new_tensor(TIMES).reshape(-1, *(1,) * step.dim())
    return torch.tanh(step / scales - 1)


def _left(step: Tensor, num_steps: Tensor) -> Tensor:
    """Whether the length of the run is known, and if so how much of it is left, `(3, *step)`."""
    known = (num_steps > 0).to(step.dtype)
    left = (1 - step / num_steps.clamp(min=1)).clamp(min=0)
    return known * torch.stack([known, left, (left + LAST).log() / -math.log(LAST)])


def _agreement(grads: Params, leads: Params, dims: Mapping[str, tuple[int, ...]]) -> Tensor:
    """Of gradients with leads."""
    products = {n: grads[n] * lead for n, lead in leads.items()}
    slopes = [p.sum(dims[n]) if dims[n] else p for n, p in products.items()]
    return agreement(torch.stack(slopes, -1), _norms(grads, dims) * _norms(leads, dims))


def _corrections(step: Tensor) -> Tensor:
    """Adam's bias corrections `1 / (1 - decay^step)` of momenta and square: `(4, *step)`."""
    logs = step.new_tensor([math.log(d) for d in (*DECAYS, SQUARE_DECAY)])
    return -1 / torch.expm1(step * logs.reshape(-1, *(1,) * step.dim()))


def _rms(norm: Tensor, counts: Tensor) -> Tensor:
    return (norm * norm / counts + TINY).sqrt()
