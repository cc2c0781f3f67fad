"""Compares a learned rule with baselines tuned for every task, as docs/evaluation.md says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from nfn_optim import NFNOptimizer, UpdateRule, load_rule

from ..tasks import ModuleTask, Task
from ._contenders import BASELINES, Contender
from ._measures import aggregate, best_rates, compare, curve, measure
from ._results import Comparison, Evaluation, TaskResult
from ._statistics import diverged
from ._sweep import Sweep
from ._sweep_cache import SweepCache
from ._tasks import EvaluationTask
from ._timing import seconds_per_step

OURS = "ours"
_MAX_EXTENSIONS = 2
_OVERHEAD = 4_000  # work of a network's step that does not grow with its weights, in weights

OnProgress = Callable[[str, float, float], None]


def evaluate(
    checkpoint: UpdateRule | str | Path,
    tasks: Sequence[EvaluationTask],
    *,
    baselines: Sequence[Contender] = tuple(BASELINES.values()),
    num_seeds: int = 5,
    told: bool = False,
    cache: Path | None = None,
    on_progress: OnProgress = lambda label, done, total: None,
) -> Evaluation:
    """Compares a learned rule with baselines, each tuned for every task.

    Args:
        checkpoint: A rule, or what `load_rule` takes. Seconds are measured for checkpoints only.
        tasks: What to train.
        baselines: What to compare with.
        num_seeds: Networks trained with every setting.
        told: Whether the learned rule is told the number of steps.
        cache: Folder that keeps the baselines' curves; without one they are computed every time.
        on_progress: Told what is running, how much work is done, and how much there is.

    Raises:
        ValueError: If there are no tasks, no baselines or no seeds.
    """
    if not tasks or not baselines or num_seeds < 1:
        raise ValueError("evaluate needs at least one task, one baseline and one seed. Give them.")
    in_memory = isinstance(checkpoint, UpdateRule)
    rule = checkpoint if isinstance(checkpoint, UpdateRule) else load_rule(checkpoint)
    name = str(checkpoint)
    make = None if in_memory else lambda module, lr: NFNOptimizer(module, checkpoint=name, lr=lr)
    ours = Contender(OURS, lambda lr: rule, (1.0,), ("constant",), make, told)
    session = _Session(ours, tuple(baselines), range(num_seeds), cache, on_progress)
    results = session.run(tasks)
    return Evaluation(
        checkpoint=type(rule).__name__ if in_memory else str(checkpoint),
        num_seeds=num_seeds,
        tasks=results,
        aggregate={
            b.name: aggregate([result.baselines[b.name].speedup for result in results])
            for b in baselines
        },
    )


@dataclass
class _Work:
    """Counts work for the progress bar."""

    on_progress: OnProgress
    total: float = 0.0
    done: float = 0.0

    def advance(self, label: str, cost: float, networks: int) -> None:
        self.done += cost * networks
        self.on_progress(label, self.done, self.total)


@dataclass(frozen=True)
class _Session:
    """One evaluation: who competes, from which seeds."""

    ours: Contender
    baselines: tuple[Contender, ...]
    seeds: Sequence[int]
    cache: Path | None
    on_progress: OnProgress

    def run(self, tasks: Sequence[EvaluationTask]) -> tuple[TaskResult, ...]:
        work = _Work(self.on_progress)
        built = [(named, named.build()) for named in tasks]
        for named, task in built:
            fields = [self.ours, *(_prescribed(b, named) for b in self.baselines)]
            networks = sum(len(c.settings) for c in fields) * len(self.seeds)
            work.total += networks * named.num_steps * _cost(task)
        return tuple(self._compare(named, task, work) for named, task in built)

    def _compare(self, named: EvaluationTask, task: Task, work: _Work) -> TaskResult:
        ours = self._sweep(named, task, self.ours, work, None)
        seconds = self._seconds(task)
        comparisons: dict[str, Comparison] = {}
        curves = {self.ours.name: curve(ours)}
        for baseline in self.baselines:
            sweep, extended = self._tune(named, task, _prescribed(baseline, named), work)
            comparison = compare(ours, sweep, seconds, (self.ours.name, baseline.name))
            comparisons[baseline.name] = replace(comparison, extended_rates=extended)
            curves[baseline.name] = curve(sweep)
        return TaskResult(
            task=named.name,
            num_steps=named.num_steps,
            num_weights=task.spec.num_entries,
            ours=measure(ours),
            num_diverged=int(diverged(ours.losses).sum()),
            baselines=comparisons,
            seconds_per_step=seconds,
            curves=curves,
        )

    def _tune(
        self, named: EvaluationTask, task: Task, baseline: Contender, work: _Work
    ) -> tuple[Sweep, tuple[float, ...]]:
        """A sweep with its best rates inside the grid where possible; the rates added for it."""
        sweep = self._sweep(named, task, baseline, work, self.cache)
        extended: tuple[float, ...] = ()
        for _ in range(0 if named.rates else _MAX_EXTENSIONS):
            beyond = [more for rate in best_rates(sweep) if (more := baseline.beyond(rate))]
            for more in {b.rates: b for b in beyond}.values():
                work.total += _cost(task) * len(more.settings) * len(self.seeds) * named.num_steps
                sweep += self._sweep(named, task, more, work, self.cache)
                extended += more.rates
                baseline = replace(baseline, rates=tuple(sorted(baseline.rates + more.rates)))
        return sweep, extended

    def _sweep(
        self,
        named: EvaluationTask,
        task: Task,
        contender: Contender,
        work: _Work,
        cache: Path | None,
    ) -> Sweep:
        advance = partial(work.advance, f"{named.name}: {contender.name}", _cost(task))
        steps = named.num_steps
        return SweepCache(cache).run(named.name, task, contender, self.seeds, steps, advance)

    def _seconds(self, task: Task) -> dict[str, float]:
        """Seconds a step at a rate that trains; the rate does not change them."""
        if self.ours.make_optimizer is None or not isinstance(task, ModuleTask):
            return {}
        makes = {
            c.name: partial(_call, c.make_optimizer, min(c.rates))
            for c in (self.ours, *self.baselines)
            if c.make_optimizer
        }
        return seconds_per_step(task, makes)


def _call(make: Callable[[nn.Module, float], Optimizer], lr: float, module: nn.Module) -> Optimizer:
    return make(module, lr)


def _prescribed(baseline: Contender, named: EvaluationTask) -> Contender:
    """The baseline on the grid that the task's protocol prescribes, if it does."""
    return replace(
        baseline,
        rates=named.rates or baseline.rates,
        schedules=named.schedules or baseline.schedules,
    )


def _cost(task: Task) -> float:
    """Work of one network's step."""
    return task.spec.num_entries + _OVERHEAD
