"""The learned optimizer, and what it is before it has learned anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from nfn_optim import NetworkSpec, NFNOptimizer, NFNRule, UpdateRule, load_rule
from nfn_optim.hub import is_address

from ._contender import Contender

SHIPPED = "shipped"
UNTRAINED = "untrained"
_DEFAULT = "default"


@dataclass(frozen=True)
class _Learned:
    """Makes the optimizer of a rule."""

    rule: NFNRule
    told: bool

    def __call__(self, module: nn.Module, lr: float, num_steps: int) -> Optimizer:
        steps, spec = num_steps if self.told else None, getattr(module, "spec", None)
        known = spec if isinstance(spec, NetworkSpec) else None  # of a task without a module
        return NFNOptimizer(
            module, lr, checkpoint=self.rule, spec=known, lr_unit="relative", num_steps=steps
        )


def learned(checkpoint: UpdateRule | str | Path, *, told: bool = False) -> Contender:
    """A learned rule as a contender with nothing to tune.

    The default is called `shipped` where it has learned something, and `untrained` where it has
    not; other files by their name without the suffix (by all of their path, where that would be
    `shipped` or `untrained` too), those on the Hub by their address, and rules in memory by their
    class.

    Args:
        checkpoint: A rule, or what `load_rule` takes.
        told: Whether it is told the number of steps.
    """
    if isinstance(checkpoint, UpdateRule):
        return _contender(type(checkpoint).__name__, checkpoint, told)
    return _contender(_name_of(checkpoint), load_rule(checkpoint), told)


def untrained(*, told: bool = False) -> Contender:
    """The rule that meta-training starts from."""
    return _contender(UNTRAINED, load_rule(UNTRAINED), told)


def with_references(judged: Contender) -> tuple[Contender, ...]:
    """A learned rule beside the rule that has learned nothing and beside the default.

    Each is there once, also where one of these two is judged, and where they are the same.
    """
    others = (untrained(told=judged.told), learned(_DEFAULT, told=judged.told))
    found = {judged.name: judged}
    for other in others:
        found.setdefault(other.name, other)
    return tuple(found.values())


def name_of_default() -> str:
    """What the default is called: `UNTRAINED` where it has learned nothing."""
    return SHIPPED if has_learned(load_rule(_DEFAULT)) else UNTRAINED


def has_learned(rule: NFNRule) -> bool:
    """Whether a rule is another one than that which has learned nothing."""
    weights, nothing = rule.state_dict(), load_rule(UNTRAINED)
    return rule.config != nothing.config or any(
        not torch.equal(weights[name], tensor) for name, tensor in nothing.state_dict().items()
    )


def _name_of(checkpoint: str | Path) -> str:
    if str(checkpoint) == _DEFAULT:
        return name_of_default()
    if is_address(checkpoint):
        return str(checkpoint)
    stem = Path(checkpoint).stem
    is_taken = stem in (SHIPPED, UNTRAINED) and str(checkpoint) != UNTRAINED
    return str(checkpoint) if is_taken else stem


def _contender(name: str, rule: UpdateRule, told: bool) -> Contender:
    return Contender(
        name=name,
        schedules=("constant",),
        make_optimizer=_Learned(rule, told) if isinstance(rule, NFNRule) else None,
        make_rule=lambda lr: rule,
        told=told,
    )
