"""Settings of a meta-training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from ..support import require_counts

EstimatorName = Literal["bptt", "full-es", "pes", "nres"]


@dataclass(frozen=True)
class TrainConfig:
    """How a rule is meta-trained; defaults are those of the shipped checkpoint's first phase.

    Attributes:
        seed: Seeds task sampling, initial networks, batches and the rule's initial weights.
        outer_steps: Updates of the meta-parameters.
        truncation: Inner steps of an estimate of the meta-gradient.
        min_horizon: Shortest inner run; lengths are log-uniform.
        max_horizon: Longest inner run.
        told: Share of the inner runs in which the rule is told the horizon.
        runs: Inner runs kept alive.
        runs_per_step: Inner runs that an outer step advances; their meta-gradients are averaged.
        entries: Weights trained at once in a run: small networks are trained in larger groups.
        max_networks: Largest group of networks in a run.
        hidden: Hidden channels of the rule.
        initial_lr: Step size of the untrained rule.
        init: A checkpoint to start from, which then decides on `hidden`; a new rule without.
        parameters: Names (regular expressions) of the meta-parameters to train; all if empty. By
            default all but the schedule, whose gradient a truncation gets wrong.
        estimator: Estimator of the meta-gradient: truncated backpropagation, or full, persistent
            or noise-reuse evolution strategies.
        first_order: bptt: whether the rule reads its inputs as constants.
        remat: bptt: whether steps are computed again on the way back, to save memory.
        std: Evolution strategies: standard deviation of the perturbations.
        pairs: Evolution strategies: antithetic pairs of a run.
        optimizer: Outer optimizer, a class of `torch.optim`.
        weight_decay: Its weight decay.
        lr: Peak outer learning rate.
        final_lr: Outer learning rate at the end of the cosine.
        warmup: Outer steps of linear warm-up.
        clip: Largest norm of a run's meta-gradient, before averaging over runs.
        loss_floor: `c` in the meta-loss `log(loss + c)`; a run whose loss falls below it is over.
        held_out: Share of the held-out loss in the second half of the meta-loss, the loss that a
            piece of a run reached; the rest is training loss.
        ema: Decay of the average of the meta-parameters that is kept as the result.
        validate_every: Outer steps between meta-validations, which keep the best result so far; 0
            for none.
        validation_runs: Held-out inner runs of a meta-validation.
        validation_steps: Inner steps of each.
        save_every: Outer steps between checkpoints.
        threads: Intra-op threads; one is fastest on small networks.
        device: Where networks and rule live: `cpu`, `cuda`, `cuda:1`, ...
    """

    seed: int = 0
    outer_steps: int = 3_200
    truncation: int = 40
    min_horizon: int = 50
    max_horizon: int = 1_000
    told: float = 0.5
    runs: int = 32
    runs_per_step: int = 1
    entries: int = 16_000
    max_networks: int = 8
    hidden: int = 16
    initial_lr: float = 1e-2
    init: str | None = None
    parameters: tuple[str, ...] = (r"read\..*", r"write\..*")
    estimator: EstimatorName = "bptt"
    first_order: bool = True
    remat: bool = False
    std: float = 0.01
    pairs: int = 4
    optimizer: str = "Adam"
    weight_decay: float = 0.0
    lr: float = 1e-3
    final_lr: float = 5e-5
    warmup: int = 100
    clip: float = 0.5
    loss_floor: float = 1e-5
    held_out: float = 1.0
    ema: float = 0.99
    validate_every: int = 0
    validation_runs: int = 8
    validation_steps: int = 200
    save_every: int = 200
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Checks ranges.

        Raises:
            ValueError: Naming the setting that is out of range.
        """
        at_least_one = ("outer_steps", "truncation", "min_horizon", "runs", "runs_per_step")
        sizes = ("entries", "max_networks", "hidden", "pairs", "validation_runs")
        require_counts(self, *at_least_one, *sizes, "validation_steps", "save_every", "threads")
        for name in ("warmup", "validate_every", "weight_decay", "final_lr"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}.")
        for name in ("lr", "initial_lr", "clip", "loss_floor", "std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")
        self._check_relations()

    def _check_relations(self) -> None:
        if self.max_horizon < self.min_horizon:
            raise ValueError(
                f"max_horizon ({self.max_horizon}) must not be below min_horizon "
                f"({self.min_horizon})."
            )
        if self.runs_per_step > self.runs:
            raise ValueError(
                f"runs_per_step ({self.runs_per_step}) must not exceed runs ({self.runs})."
            )
        for name in ("told", "held_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1]; got {getattr(self, name)}.")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1); got {self.ema}.")
        known = get_args(EstimatorName)
        if self.estimator not in known:
            raise ValueError(
                f"there is no estimator {self.estimator!r}. Choose one of {', '.join(known)}."
            )
        if not hasattr(torch.optim, self.optimizer):
            raise ValueError(
                f"torch.optim has no {self.optimizer!r}. Give the name of a class, e.g. AdamW."
            )
