"""The inner runs that are kept alive, so that every outer step sees several ages and tasks."""

from __future__ import annotations

from typing import Any

import torch

from nfn_optim import UpdateRule

from ..estimators import EvolutionStrategy, GradientEstimator
from ..inner import ALONE, InnerConfig, InnerRun, Processes, joined
from ..tasks import TaskFamily

_MAX_SEED = 2**31


class RunPool:
    """Inner runs in slots; a process holds those it owns and knows the seeds of all.

    Args:
        family: Where tasks are drawn from.
        rule: Gives initial states.
        config: Number of slots, of those that an outer step takes, and the runs themselves.
        seed: Decides the seeds of the runs.
        slots_among: The processes that share the slots.
        particles_among: The processes that share the particles of every run.

    Raises:
        ValueError: If the slots cannot be shared evenly.
    """

    def __init__(
        self,
        family: TaskFamily,
        rule: UpdateRule,
        config: InnerConfig,
        seed: int,
        slots_among: Processes = ALONE,
        particles_among: Processes = ALONE,
    ) -> None:
        slots_among.check_even("runs", config.runs)
        slots_among.check_even("runs_per_step", config.runs_per_step)
        self.family, self.rule, self.config = family, rule, config
        self.slots_among, self.particles_among = slots_among, particles_among
        self.generator = torch.Generator().manual_seed(seed)
        self.runs = [self._new(slot) for slot in range(config.runs)]

    def take(self, step: int) -> list[InnerRun]:
        """This process's runs of an outer step; those that are over begin anew."""
        count = self.config.runs_per_step
        slots = [(step * count + i) % len(self.runs) for i in range(count)]
        ended = [float(run is not None and run.over) for run in (self.runs[s] for s in slots)]
        for slot, is_over in zip(slots, self.slots_among.sum(torch.tensor(ended)), strict=True):
            if is_over:
                self.runs[slot] = self._new(slot)
        return [run for run in (self.runs[slot] for slot in slots) if run is not None]

    def state_dict(self) -> dict[str, Any]:
        """The runs of all processes, on the first one."""
        held = {i: run.state_dict() for i, run in enumerate(self.runs) if run is not None}
        gathered = self.slots_among.gather(self.particles_among.gather(held))
        parts = [part for shared in gathered for part in shared]
        slots = sorted({slot for part in parts for slot in part})
        return {
            "generator": self.generator.get_state(),
            "runs": [joined([part[slot] for part in parts if slot in part]) for slot in slots],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`; errors as for `InnerRun`."""
        self.generator.set_state(state["generator"])
        for slot, saved in enumerate(state["runs"]):
            run = self._run(slot, saved["seed"])
            if run is not None:
                run.load_state_dict(saved)
            self.runs[slot] = run

    def _new(self, slot: int) -> InnerRun | None:
        return self._run(slot, int(torch.randint(_MAX_SEED, (), generator=self.generator)))

    def _run(self, slot: int, seed: int) -> InnerRun | None:
        if not self.slots_among.owns(slot):
            return None
        return InnerRun(self.family, self.rule, self.config, seed, self.particles_among)


def sharing(estimator: GradientEstimator, processes: Processes) -> tuple[Processes, Processes]:
    """Who shares the slots, and who the particles of each run: the processes do one of the two.

    Raises:
        ValueError: If the pairs of an evolution strategy cannot be shared evenly.
    """
    if not isinstance(estimator, EvolutionStrategy):
        return processes, ALONE
    processes.check_even("pairs", estimator.pairs)
    return ALONE, processes
