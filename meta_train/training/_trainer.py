"""The outer loop: advances inner runs and trains the rule on their meta-gradients."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nfn_optim import NFNRule, save_rule

from ..estimators import GradientEstimator, trained
from ..inner import ALONE, Processes
from ..support import provenance
from ..tasks import TaskFamily
from ._config import RunConfig
from ._files import save_resume
from ._outer import make_optimizer
from ._pool import RunPool, sharing
from ._resume import load_state
from ._rule import make_rule
from ._settings import to_plain
from ._validation import Validation


class MetaTrainer:
    """Meta-trains an `NFNRule` on a family of tasks.

    Main arguments:
        family: Tasks to train on.
        config: Settings; the run is a function of these and the family.

    Other arguments:
        estimator: An estimator of your own; `config.estimator` without.
        validation: Family of the held-out tasks; `family` without.
        processes: The processes that share the work: evolution strategies share the pairs of every
            run, other estimators the runs.
        labels: What the card says beside the settings; `family` there names the family.

    Raises:
        FileNotFoundError: If there is no checkpoint to start from.
        ValueError: If the settings do not fit together, or not the machine or the processes.
    """

    def __init__(
        self,
        family: TaskFamily,
        config: RunConfig | None = None,
        estimator: GradientEstimator | None = None,
        *,
        validation: TaskFamily | None = None,
        processes: Processes | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.family, self.config = family, config or RunConfig()
        self.processes, self.labels = processes or ALONE, dict(labels or {})
        self.estimator = estimator or self.config.estimator
        shared = sharing(self.estimator, self.config.inner, self.processes)
        config = self.config
        self.rule = make_rule(config.rule, config.inner, config.seed, config.device)
        self.average = {n: p.detach().clone() for n, p in self.rule.named_parameters()}
        self.optimizer = make_optimizer(config.outer, self.rule.parameters())
        self.pool = RunPool(family, self.rule, config.inner, config.seed, *shared)
        self.validation = Validation(
            validation or family,
            config.validation,
            config.inner,
            config.meta_loss,
            config.seed,
            self.processes,
        )
        self.step, self.seconds, self.skipped = 0, 0.0, 0
        self.best: tuple[float, int] | None = None
        self.reference: float | None = None
        self.validated: int | None = None

    def train(self) -> Iterator[float]:
        """Takes outer steps up to `config.outer_steps`; yields the meta-loss of each.

        It is NaN for a step without any run whose meta-gradient is finite: such a step changes
        nothing, and training goes on. What a family raises is passed on, and leaves the trainer as
        it was before the step, in all processes alike.
        """
        while self.step < self.config.outer_steps:
            start = time.perf_counter()
            undo = self.pool.keep(self.step)
            try:
                loss, grads = self.estimate()
            except Exception:
                undo()
                raise
            self._apply(grads)
            self.step += 1
            self.seconds += time.perf_counter() - start
            yield loss

    def estimate(self) -> tuple[float, dict[str, Tensor]]:
        """Advances this step's runs: the mean meta-loss and the mean of the clipped meta-gradients.

        Runs whose meta-gradient is not finite are left out of both and counted in `skipped`; where
        none is left, the meta-loss is NaN and there is no gradient.
        """
        theta, count = trained(self.rule), self.config.inner.runs_per_step
        sizes = [p.numel() for p in theta.values()]
        rows = torch.zeros(count, 2 + sum(sizes), device=self.device)
        with self.pool.runs_among.together():
            for row, run in zip(rows, self.pool.take(self.step), strict=True):
                if run is None:
                    continue
                with run.timed():
                    estimate = self.estimator.estimate(self.rule, run, self.config.meta_loss)
                clipped = self._clipped(estimate.grads)
                if clipped is not None:
                    row[0], row[1] = estimate.loss, 1
                    torch.cat([clipped[name].flatten() for name in theta], out=row[2:])
        total = self.pool.runs_among.sum(rows).sum(0)  # run by run, whoever had which
        loss, used = total[:2].tolist()
        self.skipped += count - round(used)
        if not used:
            return math.nan, {}
        parts = (total[2:] / used).split(sizes)
        return loss / used, {n: g.view_as(theta[n]) for n, g in zip(theta, parts, strict=True)}

    def _clipped(self, grads: dict[str, Tensor]) -> dict[str, Tensor] | None:
        norm = torch.nn.utils.get_total_norm(list(grads.values()))
        if not math.isfinite(norm):
            return None
        scale = (self.config.outer.clip / (norm + 1e-6)).clamp(max=1.0)
        return {name: grad * scale for name, grad in grads.items()}

    def _apply(self, grads: dict[str, Tensor]) -> None:
        if not grads:
            return
        params = dict(self.rule.named_parameters())
        for name, grad in grads.items():
            params[name].grad = grad
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.outer.lr_at(self.step, self.config.outer_steps)
        self.optimizer.step()
        for name, mean in self.average.items():
            mean.lerp_(params[name].detach(), 1 - self.config.outer.ema)

    def validate(self, is_ended: Callable[[], bool] = lambda: False) -> tuple[Tensor, bool] | None:
        """Meta-loss of the averaged rule on every held-out run, and whether it is the best yet.

        The first one, before the first outer step, is what others refer to. Nothing where
        `is_ended` asked between two runs for it to be given up.
        """
        losses = self.validation.losses(self.result().to(self.device), is_ended)
        if losses is None:
            return None
        score, self.validated = float(losses.mean()), self.step
        if self.step == 0:
            self.reference = score
        is_best = self.best is None or score < self.best[0]
        if is_best:
            self.best = score, self.step
        return losses, is_best

    @property
    def num_estimates(self) -> int:
        """Estimates of all steps so far, those in `skipped` included."""
        return self.step * self.config.inner.runs_per_step

    @property
    def device(self) -> torch.device:
        """Where the rule is."""
        return next(self.rule.parameters()).device

    def result(self) -> NFNRule:
        """The rule with averaged meta-parameters."""
        rule = NFNRule(self.rule.config)
        rule.load_state_dict(self.average)
        return rule

    def card(self, command: str) -> dict[str, Any]:
        """What is needed to rerun: settings, progress, versions."""
        best: dict[str, Any] = {}
        if self.best is not None:
            best = {"meta_loss": self.best[0], "outer_step": self.best[1], "start": self.reference}
        return {
            "family": repr(self.family),
            **self.labels,
            "config": to_plain(self.config),
            "estimator": repr(self.estimator),
            "outer_steps": self.step,
            "skipped_runs": self.skipped,
            "best_validation": best,
            "processes": self.processes.size,
            "wall_seconds": round(self.seconds, 1),
            "command": command,
            **provenance(),
        }

    def save(self, path: Path, command: str) -> None:
        """Writes the result to `path` and what `resume` needs to `path.resume` beside it.

        Raises:
            OSError: If they cannot be written, as on a full disk; what was there before stays.
        """
        state = self.state_dict()
        if self.processes.is_first:
            save_resume(state, path)
            save_rule(self.result(), path, self.card(command))

    def resume(self, path: Path) -> None:
        """Continues the run that wrote `path`, bit for bit.

        It may take more outer steps than it was started for; the outer rate then follows the longer
        schedule from where it is.

        Raises:
            FileNotFoundError: If there is nothing to resume.
            ValueError: If it was started with other settings or another family of tasks, or by
                a version whose settings or rules were others, or has taken more outer steps
                already.
        """
        self.load_state_dict(load_state(path, self.config, self.rule.get_config()))

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes during training, as tensors and numbers."""
        return {
            "config": to_plain(self.config),
            "rule_config": self.rule.get_config(),
            "progress": {
                "step": self.step,
                "seconds": self.seconds,
                "skipped": self.skipped,
                "best": self.best,
                "reference": self.reference,
                "validated": self.validated,
            },
            "rule": self.rule.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            **self.pool.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`; errors as for `InnerRun`, and then nothing has changed."""
        self.pool.load_state_dict(state)
        progress = state["progress"]
        self.step, self.seconds = progress["step"], progress["seconds"]
        self.skipped, self.best = progress["skipped"], progress["best"]
        self.reference, self.validated = progress["reference"], progress["validated"]
        self.rule.load_state_dict(state["rule"])
        self.average = {n: t.to(self.device) for n, t in state["average"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
