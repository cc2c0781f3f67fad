"""What an evaluation measured, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Measured:
    """One metric over seeds.

    Attributes:
        mean: Mean over seeds.
        std: Standard deviation over seeds.
        per_seed: One value a seed.
        rate: Learning rate behind it.
        schedule: Schedule behind it.
    """

    mean: float
    std: float
    per_seed: tuple[float, ...]
    rate: float
    schedule: str


@dataclass(frozen=True)
class Comparison:
    """A baseline on a task, and the learned rule relative to it.

    Attributes:
        metrics: The baseline's, each at the setting that is best for it.
        ratios: Learned over baseline, for losses.
        steps: Steps in which the learned rule reaches the baseline's best final loss, one a seed;
            infinite where it never does.
        speedup: Steps of a run over `steps`; 0 where never.
        own_steps: Steps in which the baseline itself first reaches that loss, one a seed; the
            length of a run where it never does.
        strict_speedup: Mean of `own_steps` over `steps`.
        wall_clock_speedup: The mean speed-up times the ratio of seconds a step.
        num_diverged: Diverged runs of all that tuned the baseline.
        num_runs: All runs that tuned the baseline.
        extended_rates: Learning rates added because the best one was at the end of the grid.
    """

    metrics: dict[str, Measured]
    ratios: dict[str, float]
    steps: tuple[float, ...]
    speedup: Measured
    own_steps: tuple[float, ...]
    strict_speedup: Measured
    wall_clock_speedup: float | None
    num_diverged: int
    num_runs: int
    extended_rates: tuple[float, ...] = ()


@dataclass(frozen=True)
class TaskResult:
    """Everything measured on one task.

    Attributes:
        task: Its name.
        num_steps: Steps of a run.
        num_weights: Weights of the network.
        ours: Metrics of the learned rule.
        num_diverged: Diverged runs of the learned rule.
        baselines: By name.
        seconds_per_step: By optimizer, one network, not vectorised.
        curves: Smoothed losses `(steps, seeds)` at the setting with the best final loss.
    """

    task: str
    num_steps: int
    num_weights: int
    ours: dict[str, Measured]
    num_diverged: int
    baselines: dict[str, Comparison]
    seconds_per_step: dict[str, float]
    curves: dict[str, np.ndarray] = field(repr=False)


@dataclass(frozen=True)
class Aggregate:
    """Speed-ups over a baseline on all tasks.

    Attributes:
        iqm: Interquartile mean over tasks and seeds.
        interval: Its 95% bootstrap interval, seeds resampled within tasks; None for one seed.
        median: Median of the tasks' means.
        worst: Smallest of the tasks' means.
    """

    iqm: float
    interval: tuple[float, float] | None
    median: float
    worst: float


@dataclass(frozen=True)
class Evaluation:
    """A comparison on several tasks.

    Attributes:
        checkpoint: What was evaluated.
        num_seeds: Seeds of every setting.
        tasks: One result a task.
        aggregate: By baseline.
    """

    checkpoint: str
    num_seeds: int
    tasks: tuple[TaskResult, ...]
    aggregate: dict[str, Aggregate]
