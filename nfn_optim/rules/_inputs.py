"""What an update rule sees: its slots, turned into scale-free channels.

Every channel is unchanged when the loss is multiplied by a constant. Shapes: tensors
`(*batch, *axes)`, channels first `(c, *batch, *axes)`, descriptors `(k, *batch)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import hardtanh_

from ..symmetry import NetworkSpec
from ._agreement import cosine, over_last_steps
from ._base import Params, Slots
from ._direction import Spectral
from ._fading import follow, log_fading
from ._fixed import fixed
from ._opening import opened_further
from ._relative import default_sizes, fan_in_of
from ._share import ALONE, Share
from ._slots import norm_of
from .constants import (
    AGREED_DECAY,
    AGREED_UNIT,
    ASKED_DECAY,
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

    @property
    def pointed(self) -> Tensor | None:
        """The direction `(*batch, *axes)`; None where it is Adam's."""
        return self.tensors[4][0] if len(self.tensors) > 4 else None

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
    """What is known of whole parameters.

    Attributes:
        context: Sizes, loudness and fans `(CONTEXT_CHANNELS, *batch, parameters)`.
        schedule: How far the run is, and the fans `(SCHEDULE_CHANNELS, *batch, parameters)`;
            nothing that steps can change, or a large step could ask for a larger one.
        trend: How steady gradients are, over tens and over hundreds of steps, and how much of the
            largest is left, as logs, how much they agree with where steps lead, and how little
            `(TREND_CHANNELS, *batch, parameters)`. Steps change it, so it is bounded: what they can
            ask for is, too.
        step: Steps of the run so far `(*batch, parameters)`.
        start: Root mean square of the parameters before the first step, likewise.
        default: What it is by default `(parameters)`, see `default_sizes`.
        dealt: Log of what is left of step sizes where matrices are dealt, likewise.
        loud: Slots after this step `(*batch, parameters)`, see `follow`.
        loudest: Likewise.
        opened: Likewise, see `opened_further`.
        agreed: Likewise, how much gradients agree with leads, see `_agreement`.
        asked: Likewise, how much gradients ask for smaller parameters, see `_scaling`.
    """

    context: Tensor
    schedule: Tensor
    trend: Tensor
    step: Tensor
    start: Tensor
    default: Tensor
    dealt: Tensor
    loud: Tensor
    loudest: Tensor
    opened: Tensor
    agreed: Tensor
    asked: Tensor

    @property
    def log_fan_in(self) -> Tensor:
        """Log of the fan-in over a typical one, like `step`."""
        return self.schedule[-2]

    @property
    def log_fan_out(self) -> Tensor:
        """Log of the fan-out, likewise."""
        return self.schedule[-3]

    def noted(self, slots: Mapping[str, dict[str, Tensor]]) -> Slots:
        """The slots, with what is known now of each parameter."""
        found = {
            "loud": self.loud,
            "loudest": self.loudest,
            "opened": self.opened,
            "agreed": self.agreed,
            "asked": self.asked,
        }
        return {
            name: {**slot, **{key: value[..., i] for key, value in found.items()}}
            for i, (name, slot) in enumerate(slots.items())
        }


def aim(slot: Mapping[str, Tensor], scales: Tensor, pointed: Tensor | None) -> Tensor:
    """The first channel of any entries of a parameter: where steps point.

    Args:
        slot: Its accumulators, of these entries.
        scales: As `Reading.scales` `(9)`.
        pointed: The direction, where it is not Adam's.
    """
    if pointed is None:
        scale = (slot["square"] * scales[3]).add_(TINY).rsqrt_()
        pointed = (slot["momenta"][0] * scale).mul_(scales[0])
    return pointed.clamp(-CLIP, CLIP)


def read(
    spec: NetworkSpec,
    params: Params,
    grads: Params,
    slots: Mapping[str, dict[str, Tensor]],
    direction: Spectral,
    largest: float,
    first_share: float,
    share: Share = ALONE,
) -> tuple[dict[str, Reading], Descriptors, Params]:
    """Reads parameters whose slots already hold their gradients.

    Args:
        spec: The network's spec.
        params: Its parameters, or those of them that are here.
        grads: Their gradients.
        slots: Their accumulators, in the order of `Roles`; of all other parameters the `SCALARS`.
        direction: Where steps point.
        largest: Root mean square as which larger parameters are shown.
        first_share: What the first steps are of their full size.
        share: Knows the other parameters.

    Returns:
        What layers read, what is known of whole parameters, and the new memory of each parameter
        whose direction has one.
    """
    known, scales = describe(spec, params, grads, slots, direction, largest, first_share, share)
    tensors = {n: _tensors(p, grads[n], slots[n]) for n, p in params.items()}
    views = {n: tuple(spec.view(n, tensor) for tensor in t) for n, t in tensors.items()}
    pointed, steep = direction(spec, {n: momenta[0] for n, (*_, momenta) in views.items()}, slots)
    readings = {
        n: _reading(len(spec.shapes[n]), view, pointed.get(n), scales[n])
        for n, view in views.items()
    }
    return readings, known, steep


def describe(
    spec: NetworkSpec,
    params: Params,
    grads: Params,
    slots: Mapping[str, dict[str, Tensor]],
    direction: Spectral,
    largest: float,
    first_share: float,
    share: Share = ALONE,
) -> tuple[Descriptors, dict[str, Tensor]]:
    """What is known of whole parameters, and the `Reading.scales` `(9, *batch)` of each.

    Args:
        spec: As for `read`, like those below.
        params: Those that are here, or the entries of them that are here.
        grads: Likewise.
        slots: Likewise.
        direction: Where steps point.
        largest: Root mean square as which larger parameters are shown.
        first_share: What the first steps are of their full size.
        share: Knows the other parameters and entries.
    """
    names = list(slots)
    step, num_steps, start, loud, loudest, opened, agreed, asked = (
        torch.stack([slots[n][key] for n in names], -1) for key in SCALARS
    )  # (*batch, parameters)
    none = [torch.zeros_like(start[..., 0])]
    elsewhere = none * 3, none * 6
    found = [
        _totals(params[n], grads[n], slots[n], tuple(range(-len(spec.stored[n]), 0)))
        if n in params
        else elsewhere
        for n in names
    ]
    sums, norms = share.totals(names, *(_by_kind(kind) for kind in zip(*found, strict=True)))
    counts = fixed([math.prod(spec.shapes[n]) for n in names], norms)
    square = sums[0] / counts
    size, last, loudness = (_rms(norm, counts) for norm in (norms[0], norms[1], norms[2:5]))
    corrections = _corrections(step.to(square.dtype))
    level = square * corrections[-1]
    ratios = torch.cat([loudness * corrections[:-1], last.unsqueeze(0)]) / (level + TINY).sqrt()
    shown = size.clamp(max=largest).unsqueeze(0)
    logs = torch.log(torch.cat([shown, ratios]) + 1e-4)
    fans = fixed([log_fans(spec, n) for n in names], step).T
    fans = fans.reshape(-1, *(1,) * (step.dim() - 1), len(names)).expand(-1, *step.shape)
    context = torch.cat([logs, fans])
    schedule = torch.cat([_time(step), _left(step, num_steps), fans])
    inverse = corrections[-1] / (level + TINY)
    factors = [corrections, inverse.unsqueeze(0), 1 / loudness, (1 / size).unsqueeze(0)]
    scales = torch.cat(factors).unbind(-1)  # of (9, *batch)
    loud, loudest = follow(loud, loudest, loudness[0] * corrections[0], step)
    now = -cosine(sums[1], norms[1] * norms[5])
    if first_share < 1:
        opened = opened_further(opened, now, first_share)
    agreed = over_last_steps(agreed, now, AGREED_DECAY)
    asked = over_last_steps(asked, cosine(sums[2], norms[1] * norms[0]), ASKED_DECAY)
    known = (
        fixed(default_sizes(spec, names, direction.matrices(spec)), start),
        fixed(direction.log_shares(spec, names, start.device.type), start),
        *(loud, loudest, opened, agreed, asked),
    )
    trend = _trend(logs[1:4], log_fading(loud, loudest, 1), agreed)
    described = Descriptors(context, schedule, trend, step, start, *known)
    return described, dict(zip(names, scales, strict=True))


def _totals(
    param: Tensor, grad: Tensor, slot: Mapping[str, Tensor], over: tuple[int, ...]
) -> tuple[list[Tensor], list[Tensor]]:
    """Sums `(*batch)` over the entries that are here, and norms.

    Returns:
        Of the mean square, of gradients times leads and times parameters; norms of parameter,
        gradient, the three momenta and the lead.
    """
    lead, momenta = slot["lead"], slot["momenta"]
    param, grad = param.to(lead.dtype), grad.to(lead.dtype)
    kept = norm_of(momenta, over).unbind()
    norms = [norm_of(param, over), norm_of(grad, over), *kept]
    none = torch.zeros_like(kept[0])  # of what is not kept, since nothing reads it
    norms.extend([none] * (len(DECAYS) - len(kept)))
    norms.append(norm_of(lead, over))
    square = _sum(slot["square"], over) if "square" in slot else none
    return [square, _sum(grad * lead, over), _sum(grad * param, over)], norms


def _by_kind(found: Sequence[Sequence[Tensor]]) -> Tensor:
    """Numbers `(*batch)` of each parameter as `(kinds, *batch, parameters)`."""
    return torch.stack([torch.stack(of, -1) for of in zip(*found, strict=True)])


def _sum(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x.sum(dims) if dims else x


def _tensors(
    param: Tensor, grad: Tensor, slot: Mapping[str, Tensor]
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
    scales = fixed(TIMES, step).reshape(-1, *(1,) * step.dim())
    return torch.tanh(step / scales - 1)


def _left(step: Tensor, num_steps: Tensor) -> Tensor:
    """Whether the length of the run is known, and if so how much of it is left, `(3, *step)`."""
    known = (num_steps > 0).to(step.dtype)
    left = (1 - step / num_steps.clamp(min=1)).clamp(min=0)
    return known * torch.stack([known, left, (left + LAST).log() / -math.log(LAST)])


def _trend(loudness: Tensor, left: Tensor, agreed: Tensor) -> Tensor:
    """Of the logs of momenta's loudness, shortest first, of what is left of it, and agreement."""
    steadiness = loudness[1:] - loudness[:1]
    shown = agreed / AGREED_UNIT
    rest = torch.stack([left, shown.clamp(min=0), shown.clamp(max=0)])
    return torch.cat([steadiness, rest]).clamp(-CLIP, CLIP)


def _corrections(step: Tensor) -> Tensor:
    """Adam's bias corrections `1 / (1 - decay^step)` of momenta and square: `(4, *step)`."""
    logs = fixed([math.log(d) for d in (*DECAYS, SQUARE_DECAY)], step)
    return -1 / torch.expm1(step * logs.reshape(-1, *(1,) * step.dim()))


def _rms(norm: Tensor, counts: Tensor) -> Tensor:
    return (norm * norm / counts + TINY).sqrt()
