"""Contenders by the names that users give them."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from ...support import load_reference
from ._contender import Contender
from ._peers import ADAM, TUNED

_BY_NAME = {contender.name: contender for contender in (*TUNED, ADAM)}
_INSTALL = {"schedulefree": "schedulefree", "prodigyopt": "prodigyopt"}
_INSTALL["pytorch_optimizer"] = "pytorch-optimizer"


def find_contender(name: str) -> Contender:
    """A contender by name.

    `adamw` is tuned, `adamw@0.001` runs at one constant rate, and `module:factory` is the user's: a
    function from a module to a `torch.optim.Optimizer`, found as Python finds modules, the working
    directory included.

    Raises:
        ValueError: If there is no such contender or factory, the rate is no positive number, or a
            package is missing.
    """
    if ":" in name:
        return _users(name)
    base, at, rate = name.partition("@")
    if base not in _BY_NAME:
        raise ValueError(
            f"there is no contender {base!r}. Choose {', '.join(_BY_NAME)}, one of them at a rate "
            "(adamw@0.001), or give module:factory, a function from a module to an optimizer."
        )
    contender = _BY_NAME[base]
    require_packages(contender)
    return contender.at(_rate(name, rate)) if at else contender


def require_packages(contender: Contender) -> None:
    """Checks that a contender's package is installed.

    Raises:
        ValueError: Naming the command that installs it.
    """
    for package in contender.packages:
        if package in _INSTALL and importlib.util.find_spec(package) is None:
            raise ValueError(
                f"contender {contender.name!r} needs a package that is not installed. Run "
                f"pip install {_INSTALL[package]} (all of them: pip install 'nfn-optim[peers]')."
            )


@dataclass(frozen=True)
class _Factory:
    """Loads the user's factory where it is called: in any process."""

    reference: str

    def __call__(self, module: nn.Module, lr: float, num_steps: int) -> Optimizer:
        return load_reference(self.reference, "contender")(module)


def _users(reference: str) -> Contender:
    make = _Factory(reference)
    optimizer = make(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), 1.0, 1)
    if not isinstance(optimizer, Optimizer):
        raise ValueError(
            f"contender {reference!r} returned {type(optimizer).__name__}, not a "
            "torch.optim.Optimizer. Return one from the function, made of the module it is given."
        )
    package = reference.partition(":")[0]
    return Contender(
        name=reference, schedules=("constant",), make_optimizer=make, packages=(package,)
    )


def _rate(name: str, rate: str) -> float:
    try:
        value = float(rate)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"the rate of contender {name!r} is no positive number: {rate!r}.")
    return value
