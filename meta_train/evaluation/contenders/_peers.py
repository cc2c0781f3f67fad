"""What people would pick instead, each from the package that people install.

Extras are imported when an optimizer of theirs is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from nfn_optim import AdamRule, SGDRule

from ._contender import Contender, half_decades
from ._muon import MuonWithAdamW

_WARM_UP = 20  # a run has this many times the warm-up's steps


def _adam(module: nn.Module, lr: float, num_steps: int) -> Optimizer:
    return torch.optim.Adam(_trained(module), lr=lr)


def _adamw(module: nn.Module, lr: float, num_steps: int) -> Optimizer:
    return torch.optim.AdamW(_trained(module), lr=lr, weight_decay=0.01)


def _sgd(module: nn.Module, lr: float, num_steps: int) -> Optimizer:
    return torch.optim.SGD(_trained(module), lr=lr, momentum=0.9)


def _muon(module: nn.Module, lr: float, num_steps: int) -> Optimizer:
    return MuonWithAdamW(module, lr)


def _schedule_free(module: nn.Module, lr: float, num_steps: int) -> Optimizer:
    make: Any = import_module("schedulefree").AdamWScheduleFree
    return make(_trained(module), lr=lr, warmup_steps=num_steps // _WARM_UP)


def _soap(module: nn.Module, lr: float, num_steps: int) -> Optimizer:
    make: Any = import_module("pytorch_optimizer").SOAP
    return make(_trained(module), lr=lr)


def _prodigy(module: nn.Module, lr: float, num_steps: int) -> Optimizer:
    make: Any = import_module("prodigyopt").Prodigy
    return make(_trained(module), lr=lr)


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


ADAM = Contender(name="adam", rates=half_decades(-4, -1), make_optimizer=_adam, make_rule=AdamRule)
ADAMW = Contender(
    name="adamw",
    rates=tuple(half_decades(-4, -1)[1:-1]),
    make_optimizer=_adamw,
    make_rule=lambda lr: AdamRule(lr, weight_decay=0.01),
)
SGD = Contender(
    name="sgd",
    rates=half_decades(-2, 0),
    make_optimizer=_sgd,
    make_rule=lambda lr: SGDRule(lr, momentum=0.9),
)
MUON = Contender(
    name="muon",
    rates=(0.002, 0.0063, 0.02, 0.063, 0.2),
    make_optimizer=_muon,
)
SCHEDULE_FREE = Contender(
    name="schedule-free",
    rates=half_decades(-3, -1),
    make_optimizer=_schedule_free,
    packages=("schedulefree",),
)
SOAP = Contender(
    name="soap",
    rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    make_optimizer=_soap,
    packages=("pytorch_optimizer",),
)
PRODIGY = Contender(
    name="prodigy",
    rates=half_decades(-1, 1),
    make_optimizer=_prodigy,
    packages=("prodigyopt",),
)

TUNED = (ADAMW, MUON, SCHEDULE_FREE, SOAP, PRODIGY, SGD)
UNTUNED = (ADAMW.at(1e-3), MUON.at(0.02), SCHEDULE_FREE.at(0.0025), PRODIGY.at(1.0))
