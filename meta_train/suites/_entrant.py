"""What takes part in a suite: the suite's own methods, or a network of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from nfn_optim import NetworkSpec

from ..zoo import cache_folder
from ._cache import network_digest, remember_outcome
from ._choose import choose
from ._fit import Advance, seeded
from ._interface import Interface
from ._suite import Outcome, Problem, Size, Suite

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
            probe = self.interface.check(network, self.device)
        return network, network_digest(network, probe)

    def run(self, problem: Problem, seed: int, advance: Advance) -> Outcome:
        """Trains and tests a new network, or finds the outcome in the cache."""
        network, digest = self.make(seed)
        parts = (problem.digest(), digest, seed, self.device.type)
        return remember_outcome(cache_folder(), parts, lambda: problem.run(network, seed, advance))


def entrants(
    suite: Suite[Any, Any],
    size: Size,
    interface: Interface,
    device: torch.device,
    build: Callable[[NetworkSpec], nn.Module] | None,
    methods: Sequence[str] | None,
) -> dict[str, Entrant]:
    """The methods asked for and the caller's own network, by name, in this order.

    Raises:
        ValueError: If the suite has no such method.
    """
    if methods is None:
        methods = () if build else tuple(suite.methods)
    builds = {choose("method", name, suite.methods): suite.methods[name] for name in methods}
    makers: dict[str, Callable[[], nn.Module]] = {
        name: partial(builder, interface, size.network) for name, builder in builds.items()
    }
    if build is not None:
        makers[YOURS] = partial(build, interface.spec)
    return {name: Entrant(make, interface, device) for name, make in makers.items()}
