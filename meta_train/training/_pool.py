"""The inner runs that are kept alive, so that every outer step sees several ages and tasks."""

from __future__ import annotations

from typing import Any

import torch

from nfn_optim import UpdateRule

from ..inner import ALONE, InnerRun, Processes, TrainConfig, joined, part_of
from ..tasks import TaskFamily

_MAX_SEED = 2**31


class RunPool:
    """Inner runs in slots; a process holds those it owns and knows the seeds of all.

    Args:
        family: Where tasks are drawn from.
        rule: Gives initial states.
        config: Number of slots, and of those that an outer step takes.
        processes: Share the slots among them.
        particles_among: Share the particles of every run among them.

    Raises:
        ValueError: If the slots cannot be shared evenly.
    """

    def __init__(
        self,
        family: TaskFamily,
        rule: UpdateRule,
        config: TrainConfig,
        processes: Processes,
        particles_among: Processes = ALONE,
    ) -> None:
        processes.check_even("runs", config.runs)
        processes.check_even("runs_per_step", config.runs_per_step)
        self.family, self.rule, self.config = family, rule, config
        self.processes, self.particles_among = processes, particles_among
        self.generator = torch.Generator().manual_seed(config.seed)
        self.runs = [self._new(slot) for slot in range(config.runs)]

    def take(self, step: int) -> list[InnerRun]:
        """This process's runs of an outer step; those that are over begin anew."""
        count = self.config.runs_per_step
        slots = [(step * count + i) % len(self.runs) for i in range(count)]
        ended = [float(run is not None and run.over) for run in (self.runs[s] for s in slots)]
        for slot, is_over in zip(slots, self.processes.sum(torch.tensor(ended)), strict=True):
            if is_over:
                self.runs[slot] = self._new(slot)
        return [run for run in (self.runs[slot] for slot in slots) if run is not None]

    def state_dict(self) -> dict[str, Any]:
        """The runs of all processes, on the first one."""
        own = {i: run.state_dict() for i, run in enumerate(self.runs) if run is not None}
        gathered = self.processes.gather(self.particles_among.gather(own))
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
            if self.processes.owns(slot):
                run = InnerRun(self.family, self.rule, self.config, saved["seed"])
                run.load_state_dict(part_of(saved, self.particles_among))
                self.runs[slot] = run

    def _new(self, slot: int) -> InnerRun | None:
        seed = int(torch.randint(_MAX_SEED, (), generator=self.generator))
        if not self.processes.owns(slot):
            return None
        return InnerRun(self.family, self.rule, self.config, seed)
