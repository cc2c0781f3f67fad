"""A step on parameters that are cut.

What treats entries one by one stays where they are. What needs whole parameters is done by one
process for each, its owner.
"""

from __future__ import annotations

from math import prod

import torch

from ...rules import NFNRule, Params, RuleState, Slots, accumulate
from ...rules.constants import SCALARS, UNCUT
from ...symmetry import NetworkSpec
from ._team import Teams

_PER_ENTRY = 32  # cost of an entry beside the polar factor, in rows of its matrix


def move(
    rule: NFNRule,
    params: Params,
    grads: Params,
    state: RuleState,
    teams: Teams,
    is_alone: bool,
) -> tuple[Params, Slots]:
    """One step, equal to the rule's own on whole parameters.

    Where the rule reads entries alone, the momenta of matrices go to their owners, and directions
    come back. Otherwise all that it reads goes there, and changes and leads come back.

    Args:
        rule: Takes the step.
        params: What is here of each parameter.
        grads: Likewise.
        state: Likewise.
        teams: Who holds the rest.
        is_alone: What `rule.reads_alone` is.

    Returns:
        What is here of changes and new slots.
    """
    slots = {name: accumulate(state.slots[name], grads[name]) for name in params}
    held = RuleState(slots, state.spec)
    step = _move_parts if is_alone else _move_whole
    return step(rule, params, grads, held, teams)


def _move_parts(
    rule: NFNRule, params: Params, grads: Params, state: RuleState, teams: Teams
) -> tuple[Params, Slots]:
    found: Params = {}

    def work(whole: Params) -> Params:
        momenta = {n: x[0] for n, x in whole.items()}
        pointed, steep = rule.point(state.spec, momenta, state.slots)
        found.update(steep)
        return {n: x[None] for n, x in pointed.items()}

    def point(momenta: Params) -> tuple[Params, Params]:
        sent = {n: x[None] for n, x in momenta.items()}
        pointed = teams.at_owners(sent, _costs(state.spec), work, 1)
        return {n: x[0] for n, x in pointed.items()}, teams.from_one(found, _memories(state))

    return rule.move_parts(params, grads, state, teams, point)


def _move_whole(
    rule: NFNRule, params: Params, grads: Params, state: RuleState, teams: Teams
) -> tuple[Params, Slots]:
    known: Slots = {}
    remembered: Params = {}

    def work(whole: Params) -> Params:
        there = {n: _unpacked(x) for n, x in whole.items()}
        numbers = {n: _whole(slot) for n, slot in state.slots.items()}
        slots = {n: {**numbers[n], **(there[n][2] if n in there else {})} for n in numbers}
        delta, moved = rule.move(
            {n: param for n, (param, _, _) in there.items()},
            {n: grad for n, (_, grad, _) in there.items()},
            RuleState(slots, state.spec),
            teams,
        )
        known.update({n: {key: slot[key] for key in SCALARS} for n, slot in moved.items()})
        remembered.update({n: moved[n]["steep"] for n in there if "steep" in moved[n]})
        return {n: torch.stack([delta[n], moved[n]["lead"]]) for n in there}

    sent = {n: _packed(params[n], grads[n], slot) for n, slot in state.slots.items()}
    found = teams.at_owners(sent, _costs(state.spec), work, 2)
    for n, steep in teams.from_one(remembered, _memories(state)).items():
        known[n]["steep"] = steep
    delta = {n: x[0].to(params[n].dtype) for n, x in found.items()}
    return delta, {n: {**state.slots[n], **known[n], "lead": found[n][1]} for n in params}


def _whole(slot: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What every process has of a parameter's slots."""
    return {key: slot[key] for key in UNCUT if key in slot}


def _memories(state: RuleState) -> Params:
    """What directions remembered before, of every parameter of which they do."""
    return {n: slot["steep"] for n, slot in state.slots.items() if "steep" in slot}


def _packed(param: torch.Tensor, grad: torch.Tensor, slot: dict[str, torch.Tensor]) -> torch.Tensor:
    """All that the rule reads of entries `(7, *part)`."""
    square = slot["square"]
    single = [x.to(square.dtype) for x in (param, grad, square, slot["lead"])]
    return torch.cat([torch.stack(single), slot["momenta"]])


def _unpacked(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    param, grad, square, lead = x[:4]
    return param, grad, {"square": square, "lead": lead, "momenta": x[4:]}


def _costs(spec: NetworkSpec) -> dict[str, float]:
    """What the step of each parameter costs, up to a factor: of a matrix, also its polar factor."""
    matrices = {name: spec.matrices(name) for name in spec.names}
    rows = {n: 0 if of is None else min(of.rows, of.columns) for n, of in matrices.items()}
    return {n: prod(spec.shapes[n]) * (_PER_ENTRY + rows[n]) for n in spec.names}
