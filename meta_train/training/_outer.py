"""What a `TrainConfig` asks for: the rule, what of it is trained, how, and at which rate."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch
from torch import nn

from nfn_optim import NFNRule, load_rule
from nfn_optim.rules import NFNRuleConfig

from ..estimators import (
    PES,
    EvolutionStrategy,
    FullES,
    GradientEstimator,
    NoiseReuseES,
    TruncatedBPTT,
)
from ..inner import ALONE, Processes, TrainConfig
from ..support import find_device


def make_rule(config: TrainConfig) -> NFNRule:
    """A rule with fresh weights, or that of `config.init`; only what is trained wants gradients.

    Raises:
        ValueError: If the device is not there, or an expression names no meta-parameter.
    """
    torch.manual_seed(config.seed)
    if config.init is None:
        rule = NFNRule(NFNRuleConfig(config.hidden, config.initial_lr))
    else:
        rule = load_rule(config.init)
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
    return rule.to(find_device(config.device))


def make_estimator(config: TrainConfig, processes: Processes) -> GradientEstimator:
    """The estimator of the meta-gradient; evolution strategies share their pairs among processes.

    Raises:
        ValueError: If the pairs cannot be shared evenly.
    """
    noise = (config.std, config.pairs, config.loss_floor)
    share = config.held_out
    if config.estimator == "full-es":
        return FullES(*noise, held_out=share, processes=processes)
    if config.estimator == "pes":
        return PES(*noise, config.truncation, held_out=share, processes=processes)
    if config.estimator == "nres":
        return NoiseReuseES(*noise, config.truncation, held_out=share, processes=processes)
    inner = (config.loss_floor, config.first_order, config.remat)
    return TruncatedBPTT(config.truncation, *inner, held_out=share)


def sharing(estimator: GradientEstimator, processes: Processes) -> tuple[Processes, Processes]:
    """Who shares the inner runs, and who the particles of each: the processes do one of the two."""
    pairs = estimator.processes if isinstance(estimator, EvolutionStrategy) else ALONE
    return (processes if pairs.size == 1 else ALONE), pairs


def make_optimizer(config: TrainConfig, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The outer optimizer, of those parameters that want a gradient.

    Raises:
        ValueError: If the class is no optimizer with a rate and a decay.
    """
    trained = [p for p in params if p.requires_grad]
    make = getattr(torch.optim, config.optimizer)
    try:
        optimizer = make(trained, lr=config.lr, weight_decay=config.weight_decay)
    except TypeError as error:
        raise ValueError(
            f"torch.optim.{config.optimizer} cannot be the outer optimizer: {error}. "
            "Choose one that takes lr and weight_decay, e.g. AdamW."
        ) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(f"torch.optim.{config.optimizer} is no optimizer. Choose e.g. AdamW.")
    return optimizer


def outer_lr(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine from `lr` to `final_lr`."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.outer_steps - config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return config.final_lr + (config.lr - config.final_lr) * cosine
