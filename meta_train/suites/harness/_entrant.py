"""What takes part in a suite: its own methods and references, or a network of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from nfn_optim import NetworkSpec

from ...support import Progress
from ._choose import choose
from ._fit import FitConfig, seeded
from ._interface import Interface
from ._outcomes import network_digest, remember_outcome
from ._suite import Experiment, Outcome, Size, Suite

YOURS = "yours"
"""What a network of the caller's own is called in the results."""


@dataclass(frozen=True)
class Entrant:
    """A way to build networks for a suite.

    Attributes:
        build: Makes a network.
        interface: What the network must fit.
        device: Where it is trained.
    """

    build: Callable[[], nn.Module]
    interface: Interface
    device: torch.device

    def make(self, seed: int) -> tuple[nn.Module, str]:
        """A new network that fits the suite, and a hash of what it is.

        Raises:
            ValueError: If it does not fit.
        """
        with seeded(seed, self.device):
            network = self.build()
            probe = self.interface.probe(network, self.device)
        return network, network_digest(network, probe)

    def prepare(self, seed: int) -> None:
        """Checks a new network, before any long work.

        Raises:
            ValueError: If the network does not fit the suite, or cannot be trained.
        """
        self.interface.check(self.make(seed)[0], self.device)

    def forecast(self, seed: int, config: FitConfig) -> float:
        """Seconds that training a network takes, by one step on random networks."""
        return config.num_steps * self.interface.seconds(
            self.make(seed)[0], self.device, config.batch_size
        )

    def run(self, experiment: Experiment, digest: str, seed: int, on_progress: Progress) -> Outcome:
        """Trains and tests a new network, or finds the outcome under the experiment's digest."""
        network, made = self.make(seed)
        key = (digest, made, seed, self.device.type)
        return remember_outcome(key, partial(experiment.run, network, seed, on_progress))


@dataclass(frozen=True)
class Reference:
    """A method that needs no network.

    Attributes:
        reach: Runs the method: from an experiment, a seed and a progress callback to an outcome.
    """

    reach: Callable[[Any, int, Progress], Outcome]

    def prepare(self, seed: int) -> None:
        """Nothing can be wrong before the experiment is made."""

    def forecast(self, seed: int, config: FitConfig) -> None:
        """Nothing is known of how long it takes."""

    def run(self, experiment: Experiment, digest: str, seed: int, on_progress: Progress) -> Outcome:
        """Runs it, or finds the outcome under the experiment's digest."""
        key = (digest, self.reach, seed)
        return remember_outcome(key, partial(self.reach, experiment, seed, on_progress))


def check_methods(
    suite: Suite[Any, Any], size: Size, methods: Sequence[str] | None, alone: bool
) -> tuple[str, ...] | None:
    """The names of the methods asked for; a string is one of them, None stays None.

    Args:
        suite: Whose references.
        size: Whose methods.
        methods: Names.
        alone: Whether no network of the caller's takes part.

    Raises:
        ValueError: If there is no such method at this size, or nothing takes part.
    """
    if methods is None:
        return None
    names, known = (methods,) if isinstance(methods, str) else tuple(methods), suite.names(size)
    if alone and not names:
        raise ValueError(
            f"no method of {suite.name} is asked for. Name some of {', '.join(known)}, or leave "
            "methods out for all."
        )
    return tuple(choose("method", name, known) for name in names)


def entrants(
    suite: Suite[Any, Any],
    size: Size,
    interface: Interface,
    device: torch.device,
    build: Callable[[NetworkSpec], nn.Module] | None,
    methods: Sequence[str] | None,
) -> dict[str, Entrant | Reference]:
    """The methods asked for and the caller's own network, by name, in this order.

    Raises:
        ValueError: If a method runs the networks that it reads, and what they compute is not known;
            or if `build` is no function.
    """
    if isinstance(build, nn.Module) or not (build is None or callable(build)):
        raise ValueError(
            "build must be a function that makes a network from a spec, or a network's class; got "
            f"a {type(build).__name__}."
        )
    able = {name: method for name, method in size.methods.items() if method.can_read(interface)}
    known = (*suite.references, *able)
    if methods is None:
        methods = () if build else known
    found: dict[str, Entrant | Reference] = {}
    for name in methods:
        if name not in known:
            raise ValueError(
                f"{name!r} runs the networks that it reads, and what those in this folder compute "
                f"is not known. Choose one of {', '.join(known)}."
            )
        if name in suite.references:
            found[name] = Reference(suite.references[name])
        else:
            found[name] = Entrant(partial(able[name].build, interface), interface, device)
    if build is not None:
        found[YOURS] = Entrant(partial(build, interface.spec), interface, device)
    return found
