"""State of parameters that are cut: accumulators are cut alike, numbers are on all processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard

from ...rules import NFNRule, Reads, with_length
from ...rules.constants import UNCUT
from .._local import local
from ._cut import Cut
from ._team import Teams


def init_slots(
    rule: NFNRule,
    params: Mapping[str, Tensor],
    reads: Mapping[str, Reads],
    num_steps: Mapping[str, int | None],
    teams: Teams,
) -> dict[str, dict[str, Tensor]]:
    """What is here of new slots: of whole parameters, though only parts of them are known.

    Args:
        rule: Whose slots they are.
        params: The parameters that have none yet.
        reads: What the rule reads of each.
        num_steps: Of the run of each.
        teams: Of all parameters.
    """
    if not params:
        return {}
    slots = {
        n: with_length(rule.init_slots(local(p), 0, reads[n]), num_steps[n])
        for n, p in params.items()
    }
    norms = [slots[n]["size"] * math.sqrt(local(p).numel()) for n, p in params.items()]
    none = torch.stack(norms).unsqueeze(0)
    _, whole = teams.totals(list(params), none[:0], none)
    for norm, (name, param) in zip(whole[0].unbind(), params.items(), strict=True):
        slots[name]["size"] = norm / math.sqrt(max(1, param.numel()))
    return slots


def write_slots(
    state: MutableMapping[str, Any], slots: Mapping[str, Tensor], param: Tensor
) -> None:
    """Writes what is here of a parameter's slots into its state."""
    for key, value in slots.items():
        known = state.get(key)
        if isinstance(known, DTensor) and local(known).shape == value.shape:
            local(known).copy_(value)
        elif isinstance(param, DTensor) and key not in UNCUT:
            state[key] = _wrapped(value, param)
        else:
            state[key] = value


def like_shards(value: Tensor, param: Tensor | None) -> Tensor:
    """A slot that is loaded, cut as its parameter is, or whole without one.

    It may have been whole, or cut otherwise.
    """
    if isinstance(value, DTensor):
        if isinstance(param, DTensor) and value.device_mesh == param.device_mesh:
            lead = value.dim() - param.dim()
            return value.redistribute(placements=_placements(param, lead))
        value = value.full_tensor()
    if not isinstance(param, DTensor):
        return value
    cut = Cut.of(param)
    return _wrapped(cut.part_of(value, cut.mine) if cut.boxes else value, param)


def _wrapped(value: Tensor, param: DTensor) -> Tensor:
    """What is here of a slot as a part of the whole."""
    if not param.dim():
        return value
    lead = value.shape[: value.dim() - param.dim()]
    shape = torch.Size((*lead, *param.shape))
    return DTensor.from_local(
        value.contiguous(),
        param.device_mesh,
        _placements(param, len(lead)),
        run_check=False,
        shape=shape,
        stride=torch.empty(shape, device="meta").stride(),
    )


def _placements(param: DTensor, lead: int) -> list[Placement]:
    """Where slots are, which have further axes in front."""
    return [_behind(placement, param.dim(), lead) for placement in param.placements]


def _behind(placement: Placement, axes: int, lead: int) -> Placement:
    if isinstance(placement, Replicate):
        return placement
    axis = placement.dim % axes + lead  # type: ignore[attr-defined]
    if type(placement) is Shard:
        return Shard(axis)
    return type(placement)(axis, split_factor=placement.split_factor)  # type: ignore
