"""The inner runs that are kept alive, so that every outer step sees several ages and tasks.

Processes that share the runs deal those of an outer step among them anew where that ends the step
sooner; the results do not depend on who has which run.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from itertools import compress
from typing import Any

import torch

from nfn_optim import UpdateRule

from ..estimators import EvolutionStrategy, GradientEstimator
from ..inner import ALONE, InnerConfig, InnerRun, Processes, joined
from ..tasks import TaskFamily
from ._dealing import deal

_MAX_SEED = 2**31


class RunPool:
    """Inner runs, each in a numbered place; a process holds its share, and knows whose the rest is.

    Args:
        family: Where tasks are drawn from.
        rule: Gives initial states.
        config: Number of runs, of those that an outer step takes, and their length and size.
        seed: Decides the seeds of the runs.
        runs_among: The processes that share the runs.
        particles_among: The processes that share the particles of every run.
    """

    def __init__(
        self,
        family: TaskFamily,
        rule: UpdateRule,
        config: InnerConfig,
        seed: int,
        runs_among: Processes = ALONE,
        particles_among: Processes = ALONE,
    ) -> None:
        self.family, self.rule, self.config = family, rule, config
        self.runs_among, self.particles_among = runs_among, particles_among
        self.generator = torch.Generator().manual_seed(seed)
        self.owners = [place % runs_among.size for place in range(config.runs)]
        self.runs = [self._new(place) for place in range(config.runs)]

    def take(self, step: int) -> list[InnerRun | None]:
        """The runs of an outer step that are dealt to this process, and None for the others.

        Those that are over are replaced by new ones.

        Raises:
            OtherFailed: If another process that shares the particles raised something.
        """
        places = self._places(step)
        told = torch.zeros(2, len(places), dtype=torch.float64)
        for i, run in enumerate(self.runs[place] for place in places):
            if run is not None:
                told[:, i] = torch.tensor([run.over, 0.0 if run.over else run.expected])
        is_over, expected = self.runs_among.sum(told).tolist()
        self._deal(places, is_over, expected)
        with self.particles_among.together():
            for place in compress(places, is_over):
                self.runs[place] = self._new(place)
        return [self.runs[place] for place in places]

    def keep(self, step: int) -> Callable[[], None]:
        """What brings back the runs of an outer step as they are now."""
        drawn, owners = self.generator.get_state(), list(self.owners)
        held = [(place, self.runs[place]) for place in self._places(step)]
        states = [None if run is None else run.state_dict() for _, run in held]

        def bring_back() -> None:
            self.generator.set_state(drawn)
            self.owners = list(owners)
            for (place, run), state in zip(held, states, strict=True):
                self.runs[place] = run
                if run is not None and state is not None:
                    run.load_share(state)

        return bring_back

    def state_dict(self) -> dict[str, Any]:
        """The runs of all processes, on the first one."""
        held = {i: run.state_dict() for i, run in enumerate(self.runs) if run is not None}
        gathered = self.runs_among.gather(self.particles_among.gather(held))
        parts = [part for shared in gathered for part in shared]
        places = sorted({place for part in parts for place in part})
        return {
            "generator": self.generator.get_state(),
            "runs": [joined([part[place] for part in parts if place in part]) for place in places],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`; errors as for `InnerRun`, and then nothing has changed."""
        runs = [self._run(place, saved["seed"]) for place, saved in enumerate(state["runs"])]
        for run, saved in zip(runs, state["runs"], strict=True):
            if run is not None:
                run.load_state_dict(saved)
        self.generator.set_state(state["generator"])
        self.runs = runs

    def _deal(self, places: list[int], is_over: list[float], expected: list[float]) -> None:
        """Deals the runs of an outer step; those that go on move with all that they are."""
        owners = [self.owners[place] for place in places]
        dealt = deal(expected, owners, self.runs_among.size)
        pairs = zip(places, is_over, owners, dealt, strict=True)
        moving = [place for place, over, old, new in pairs if old != new and not over]
        here = {place: run.state_dict() for place in moving if (run := self.runs[place])}
        given = self.runs_among.everyones(here) if moving else []
        for place, owner in zip(places, dealt, strict=True):
            self.owners[place] = owner
        for place, state in ChainMap(*given).items():
            self.runs[place] = run = self._run(place, state["seed"])
            if run is not None:
                run.load_state_dict(state)

    def _places(self, step: int) -> list[int]:
        count = self.config.runs_per_step
        return [(step * count + i) % len(self.runs) for i in range(count)]

    def _new(self, place: int) -> InnerRun | None:
        return self._run(place, int(torch.randint(_MAX_SEED, (), generator=self.generator)))

    def _run(self, place: int, seed: int) -> InnerRun | None:
        if self.owners[place] != self.runs_among.rank:
            return None
        return InnerRun(self.family, self.rule, self.config, seed, self.particles_among)


def sharing(
    estimator: GradientEstimator, inner: InnerConfig, processes: Processes
) -> tuple[Processes, Processes]:
    """Who shares the runs, and who the particles of each run: the processes do one of the two.

    Raises:
        ValueError: If there are more processes than runs in an outer step, or the pairs of an
            evolution strategy cannot be shared evenly.
    """
    if not isinstance(estimator, EvolutionStrategy):
        processes.check_enough("runs_per_step", inner.runs_per_step)
        return processes, ALONE
    processes.check_even("pairs", estimator.pairs)
    return ALONE, processes
