"""One inner training run in progress: networks of one task, resumed at every outer step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from nfn_optim import UpdateRule
from nfn_optim.rules import RuleState

from ..tasks import Batch, Params, TaskFamily, draw_batches, stack
from ._config import InnerConfig
from ._distributed import ALONE, Processes
from ._horizon import log_uniform_horizon
from ._losses import TRIED, Losses

_MAX_SEED = 2**31
_PER_PARTICLE = ("params", "slots")  # entries of a saved run with an axis of particles


class InnerRun:
    """Networks of one sampled task on their way to a sampled horizon.

    Everything is derived from one seed, so a run is restored from its seed and its tensors. An
    estimator that perturbs the meta-parameters trains one copy of the networks for each
    perturbation, a particle (`spread`), and keeps here the perturbations that later estimates need
    (`noise`). The networks live on the device of the rule. Seeds of dropout come from the first
    network's generator.

    Args:
        family: Where the task is drawn from.
        rule: Gives the initial state.
        config: Horizons and the size of the group.
        seed: Decides task, horizon, initial networks and batches.
        processes: Share the particles among them; this one holds its own share.
    """

    DIVERGED = 3.0  # times the initial loss

    def __init__(
        self,
        family: TaskFamily,
        rule: UpdateRule,
        config: InnerConfig,
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.seed, self.steps, self.processes = seed, 0, processes
        self.diverged = self.converged = False
        self.task = family.sample(generator)
        self.horizon = log_uniform_horizon(config.min_horizon, config.max_horizon, generator)
        fitting = config.entries // max(1, self.task.spec.num_entries)
        size = max(1, min(config.max_networks, fitting))
        seeds = torch.randint(_MAX_SEED, (size,), generator=generator).tolist()
        self.generators = [torch.Generator().manual_seed(s) for s in seeds]
        self.device = next((p.device for p in rule.parameters()), torch.device("cpu"))
        self.params: Params = self._placed(stack([self.task.init(g) for g in self.generators]))
        self.losses = self._tried(seed)
        told = float(torch.rand((), generator=generator)) < config.told
        self.state: RuleState = rule.init(
            {n: p for n, p in self.params.items() if n not in self.task.carried},
            self.task.spec,
            num_steps=self.horizon if told else None,
        )
        self.particles: int | None = None
        self.noise: Params | None = None
        self.noise_generator = torch.Generator().manual_seed(_MAX_SEED + seed)
        self.initial_loss: float | None = None
        self.expected = 0.0  # seconds of the next estimate; 0 before the first

    def _tried(self, seed: int) -> Losses:
        """How this task's losses are computed; no generator of the run is drawn from."""
        generators = [torch.Generator().manual_seed(seed) for _ in self.generators[:TRIED]]
        batch = self._placed(stack([self.task.batch(g) for g in generators]))
        return Losses(self.task.loss, self.task.carried).tried(self.params, batch)

    def batches(self, count: int) -> Iterator[Batch]:
        """The next batches, stacked over networks."""
        return map(self._placed, draw_batches(self.task, self.generators, count))

    def validation_batch(self) -> Batch:
        """One validation batch a network, stacked."""
        return self._placed(stack([self.task.validation_batch(g) for g in self.generators]))

    def spread(self, particles: int) -> None:
        """Gives each of `particles` its own copy of the networks, on a new leading axis.

        Raises:
            ValueError: If the run has another number of particles already.
        """
        if self.particles is None:
            self.particles = particles
            copies = (self.params, self.state)
            self.params, self.state = _pytree.tree_map(
                lambda t: t.expand(particles, *t.shape), copies
            )
        elif self.particles != particles:
            raise ValueError(
                f"this run has {self.particles} particles, not {particles}. "
                "Keep to one estimator for a run."
            )

    def advance(self, params: Params, state: RuleState, losses: Tensor, floor: float) -> None:
        """Moves on to where an unroll arrived.

        Args:
            params: The parameters reached.
            state: The rule's state.
            losses: Training losses on the way, `(steps, n)` or `(steps, p, n)`.
            floor: The run is over when their mean is below it.
        """
        self.params, self.state = _pytree.tree_map(torch.detach, (params, state))
        self.steps += len(losses)
        if self.initial_loss is None:
            self.initial_loss = float(losses[0].mean())
        self.converged = float(losses.mean()) < floor
        last = float(losses[-1].max())
        self.diverged = not math.isfinite(last) or last > self.DIVERGED * self.initial_loss

    @property
    def over(self) -> bool:
        """Whether the horizon is reached, a network diverged, or nothing is left to gain."""
        return self.diverged or self.converged or self.steps >= self.horizon

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measures an estimate, and expects the next one to take as long an inner step.

        In processor time, since other load on the machine comes and goes.
        """
        start, before = time.process_time(), self.steps
        yield
        taken = max(1, self.steps - before)
        ahead = min(taken, self.horizon - self.steps)
        self.expected = (time.process_time() - start) * ahead / taken

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers that, with the seed, restore this process's share of the run."""
        return {
            "seed": self.seed,
            "steps": self.steps,
            "initial_loss": self.initial_loss,
            "ended": (self.diverged, self.converged),
            "params": self.params,
            "slots": self.state.slots,
            "particles": self.particles,
            "noise": self.noise,
            "noise_generator": self.noise_generator.get_state(),
            "generators": [g.get_state() for g in self.generators],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues a run of the same seed from its whole state (`joined`).

        Raises:
            ValueError: If the seed gave another task then.
        """
        self.load_share(_share(state, self.processes))

    def load_share(self, state: dict[str, Any]) -> None:
        """The same from this process's share, `state_dict`."""
        if _shapes(state["params"], state["particles"]) != _shapes(self.params, self.particles):
            raise ValueError(
                "the saved run trains other networks than this family of tasks gives. "
                "Resume with the family that the run was started with."
            )
        self.particles, self.noise = state["particles"], self._placed(state["noise"])
        self.noise_generator.set_state(state["noise_generator"])
        self.steps, self.initial_loss = state["steps"], state["initial_loss"]
        self.diverged, self.converged = state["ended"]
        self.params = self._placed(state["params"])
        slots = self._placed(state["slots"])
        self.state = RuleState(slots, self.state.spec, self.state.batch_dims)
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved)

    def _placed(self, tree: Any) -> Any:
        return _pytree.tree_map(
            lambda leaf: leaf.to(self.device) if isinstance(leaf, Tensor) else leaf, tree
        )


def _shapes(params: Params, particles: int | None) -> dict[str, torch.Size]:
    """Of the stacked networks of one particle."""
    return {n: p.shape if particles is None else p.shape[1:] for n, p in params.items()}


def joined(shares: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole state of a run from those of the processes that share its particles."""
    first = shares[0]
    if len(shares) == 1 or first["particles"] is None:
        return first
    tensors = [{name: share[name] for name in _PER_PARTICLE} for share in shares]
    whole = _pytree.tree_map(lambda *parts: torch.cat(parts), *tensors)
    return {**first, **whole, "particles": sum(share["particles"] for share in shares)}


def _share(state: dict[str, Any], processes: Processes) -> dict[str, Any]:
    """One process's share of a run's whole state: undoes `joined`."""
    if state["particles"] is None:
        return state
    tensors = _pytree.tree_map(processes.part, {name: state[name] for name in _PER_PARTICLE})
    return {**state, **tensors, "particles": state["particles"] // processes.size}
