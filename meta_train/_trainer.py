"""The outer loop: advances inner runs and trains the rule on their meta-gradients."""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nfn_optim import NFNRule, save_rule
from nfn_optim.rules import NFNRuleConfig

from ._config import TrainConfig
from ._inner_run import InnerRun
from .estimators import GradientEstimator, TruncatedBPTT
from .tasks import TaskFamily

_MAX_SEED = 2**31


class MetaTrainer:
    """Meta-trains an `NFNRule` on a family of tasks.

    Args:
        family: Tasks to train on.
        config: Settings; the run is a function of these and the family.
        estimator: Meta-gradient estimator; truncated BPTT without one.
    """

    def __init__(
        self,
        family: TaskFamily,
        config: TrainConfig | None = None,
        estimator: GradientEstimator | None = None,
    ) -> None:
        self.family, self.config = family, config or TrainConfig()
        self.estimator = estimator or TruncatedBPTT(self.config.truncation, self.config.loss_floor)
        torch.manual_seed(self.config.seed)
        self.rule = NFNRule(NFNRuleConfig(self.config.hidden, self.config.initial_lr))
        self.average = {n: p.detach().clone() for n, p in self.rule.named_parameters()}
        self.optimizer = torch.optim.Adam(self.rule.parameters(), lr=self.config.lr)
        self.generator = torch.Generator().manual_seed(self.config.seed)
        self.step, self.seconds, self.skipped = 0, 0.0, 0
        self.runs = [self._new_run() for _ in range(self.config.runs)]

    def train(self) -> Iterator[float]:
        """Takes outer steps up to `config.outer_steps`; yields the meta-loss of each."""
        while self.step < self.config.outer_steps:
            start = time.perf_counter()
            loss = self._outer_step()
            self.seconds += time.perf_counter() - start
            yield loss

    def _outer_step(self) -> float:
        slot = self.step % len(self.runs)
        if self.runs[slot].over:
            self.runs[slot] = self._new_run()
        estimate = self.estimator.estimate(self.rule, self.runs[slot])
        self._apply(estimate.grads)
        self.step += 1
        return estimate.loss

    def _apply(self, grads: dict[str, Tensor]) -> None:
        params = dict(self.rule.named_parameters())
        for name, param in params.items():
            param.grad = grads[name]
        norm = torch.nn.utils.clip_grad_norm_(params.values(), self.config.clip)
        if not math.isfinite(norm):
            self.skipped += 1
            return
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr()
        self.optimizer.step()
        for name, mean in self.average.items():
            mean.lerp_(params[name].detach(), 1 - self.config.ema)

    def _lr(self) -> float:
        """Linear warm-up, then a cosine from `lr` to `final_lr`."""
        c = self.config
        if self.step < c.warmup:
            return c.lr * (self.step + 1) / c.warmup
        progress = (self.step - c.warmup) / max(1, c.outer_steps - c.warmup)
        return c.final_lr + (c.lr - c.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))

    def _new_run(self) -> InnerRun:
        seed = int(torch.randint(_MAX_SEED, (), generator=self.generator))
        return InnerRun(self.family, self.rule, self.config, seed)

    def result(self) -> NFNRule:
        """The rule with averaged meta-parameters."""
        rule = NFNRule(self.rule.config)
        rule.load_state_dict(self.average)
        return rule

    def card(self, command: str) -> dict[str, Any]:
        """What is needed to rerun: settings, progress, versions."""
        return {
            "family": repr(self.family),
            "config": asdict(self.config),
            "outer_steps": self.step,
            "skipped_outer_steps": self.skipped,
            "wall_seconds": round(self.seconds, 1),
            "command": command,
            "torch": torch.__version__,
            "git": _git_hash(),
        }

    def save(self, path: Path, command: str) -> None:
        """Writes the result to `path` and what `resume` needs to `path.resume` beside it."""
        save_rule(self.result(), path, self.card(command))
        _save_atomically(self.state_dict(), _resume_path(path))

    def resume(self, path: Path) -> None:
        """Continues the run that wrote `path`, bit for bit.

        Raises:
            FileNotFoundError: If there is nothing to resume.
            ValueError: If it was started with other settings.
        """
        source = _resume_path(path)
        if not source.exists():
            raise FileNotFoundError(
                f"nothing to resume: {source} does not exist. Leave out --resume."
            )
        state = torch.load(source, weights_only=True)
        changed = {k for k, v in asdict(self.config).items() if state["config"].get(k) != v}
        if changed:
            raise ValueError(
                f"{source} was started with other settings: {sorted(changed)} differ. "
                "Use the same settings, or another output path."
            )
        self.load_state_dict(state)

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes during training, as tensors and numbers."""
        return {
            "config": asdict(self.config),
            "progress": {"step": self.step, "seconds": self.seconds, "skipped": self.skipped},
            "rule": self.rule.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "runs": [run.state_dict() for run in self.runs],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.step, self.seconds = state["progress"]["step"], state["progress"]["seconds"]
        self.skipped = state["progress"]["skipped"]
        self.rule.load_state_dict(state["rule"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.runs = [self._restored(saved) for saved in state["runs"]]

    def _restored(self, saved: dict[str, Any]) -> InnerRun:
        run = InnerRun(self.family, self.rule, self.config, saved["seed"])
        run.load_state_dict(saved)
        return run


def _resume_path(path: Path) -> Path:
    return path.with_name(path.name + ".resume")


def _save_atomically(state: dict[str, Any], path: Path) -> None:
    temporary = path.with_name(path.name + ".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def _git_hash() -> str:
    call = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return call.stdout.strip() or "unknown"
