"""The rule that is meta-trained: where it starts, and what of it is trained."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import torch

from nfn_optim import NFNRule, load_rule
from nfn_optim.rules import Limits, NFNRuleConfig

from ..inner import InnerConfig
from ..support import find_device, require_counts, require_positive, require_shares

_MEMORY = 2.0  # horizons that the average of a careful rule remembers


@dataclass(frozen=True)
class RuleConfig:
    """The rule that is meta-trained: where it starts, and what of it is trained.

    Attributes:
        init: A checkpoint to start from, which then decides on all of `NFNRuleConfig` but the
            limits; a new rule without.
        hidden: Hidden channels of a new rule.
        initial_lr: Step size of a new rule.
        relative: Exponent with which a new rule's steps follow the size of the weights at the
            start.
        fading: Exponent with which a new rule's steps follow gradients that become smaller.
        first_share: What a new rule's first steps are of their full size.
        centred: Whether NF-Layers of a new rule write how large steps of entries are beside each
            other, and only the schedule how large those of a parameter are.
        fan_in: Largest fan-in of the tasks, which becomes one of the rule's `Limits`; none by
            default.
        fan_out: Largest fan-out, likewise.
        parameters: Names (regular expressions) of the meta-parameters to train; all if empty. By
            default all but the schedule, whose gradient a truncation gets wrong.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    init: str | None = None
    hidden: int = 16
    initial_lr: float = NFNRuleConfig.initial_lr
    relative: float = NFNRuleConfig.relative
    fading: float = NFNRuleConfig.fading
    first_share: float = NFNRuleConfig.first_share
    centred: bool = NFNRuleConfig.centred
    fan_in: float = Limits.fan_in
    fan_out: float = Limits.fan_out
    parameters: tuple[str, ...] = (r"read\..*", r"write\..*")

    def __post_init__(self) -> None:
        require_counts(self, "hidden")
        require_positive(self, "initial_lr", "first_share", "fan_in", "fan_out")
        require_shares(self, "first_share")


def make_rule(config: RuleConfig, inner: InnerConfig, seed: int, device: str) -> NFNRule:
    """A rule with fresh weights, or that of `config.init`; only what is trained wants gradients.

    Its limits say that it has seen runs as long as those of `inner`, and fans as large as those of
    `config`.

    Raises:
        FileNotFoundError: If there is no checkpoint `config.init`.
        ValueError: If the device is not there, or an expression names no meta-parameter.
    """
    torch.manual_seed(seed)
    rule = _start(config, float(inner.max_horizon))
    names = [name for name, _ in rule.named_parameters()]
    for expression in config.parameters:
        if not any(re.fullmatch(expression, name) for name in names):
            raise ValueError(
                f"{expression!r} names no meta-parameter. There are {', '.join(names)}; "
                "regular expressions are matched against the whole name."
            )
    for name, param in rule.named_parameters():
        chosen = any(re.fullmatch(expression, name) for expression in config.parameters)
        param.requires_grad_(chosen or not config.parameters)
    return rule.to(find_device(device))


def _start(config: RuleConfig, horizon: float) -> NFNRule:
    seen = Limits(horizon, fan_in=config.fan_in, fan_out=config.fan_out)
    if config.init is None:
        shape = NFNRuleConfig(
            hidden=config.hidden,
            initial_lr=config.initial_lr,
            relative=config.relative,
            fading=config.fading,
            first_share=config.first_share,
            centred=config.centred,
            limits=seen,
        )
        return NFNRule(shape)
    first = load_rule(config.init)
    memory = _MEMORY * horizon if first.config.careful else math.inf
    limits = first.config.limits.joined(replace(seen, memory=memory))
    rule = NFNRule(replace(first.config, limits=limits))
    rule.load_state_dict(first.state_dict())
    return rule
