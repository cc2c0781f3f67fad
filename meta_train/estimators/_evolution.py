"""Evolution strategies: the meta-gradient from losses under perturbed meta-parameters.

With noise `e ~ N(0, I)`, the mean of `(L(theta + s e) - L(theta - s e)) / (2 s) * e` is the
gradient of `L` smoothed by a Gaussian of width `s`. Both members of a pair train the same initial
networks on the same batches, so that their difference is due to the perturbation alone. All
particles run as one stacked computation, and nothing is backpropagated.

Several processes share the pairs of every run. All of them draw all noise, train their own share,
and exchange the losses, from which each computes the whole meta-gradient.

Shape legend: `m` pairs, `p = 2 m` particles, the two of a pair side by side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from nfn_optim import UpdateRule

from ..inner import InnerRun, Processes
from ..support import require_counts, require_positive
from ..tasks import Params
from ._base import MetaGradient, advance, trained
from ._meta_loss import WORST, MetaLoss


@dataclass(frozen=True)
class EvolutionStrategy(ABC):
    """What evolution strategies share; they differ in which noise perturbs and which is credited.

    Processes that share the particles of a run (`run.processes`) each train their own pairs.

    Attributes:
        std: Standard deviation of the perturbations.
        pairs: Antithetic pairs.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    std: float = 0.01
    pairs: int = 4

    def __post_init__(self) -> None:
        require_positive(self, "std")
        require_counts(self, "pairs")

    def estimate(self, rule: UpdateRule, run: InnerRun, meta_loss: MetaLoss) -> MetaGradient:
        """Advances this process's particles of `run`; the estimate is that of all of them."""
        theta = trained(rule)
        run.spread(2 * self.pairs // run.processes.size)
        noise, credited = self._perturb(theta, run)
        with torch.no_grad():
            particles = self._particles(theta, noise, run.processes)
            losses = advance(rule, run, self._steps(run), meta_loss, theta=particles).loss
            losses = torch.where(losses.isfinite(), losses, WORST)
            above, below = losses.view(-1, 2).unbind(1)
            slopes = (above - below) / (2 * self.std * self.pairs)  # (m,)
            grads = {
                name: torch.tensordot(slopes.to(e.dtype), e, 1) for name, e in credited.items()
            }
        return MetaGradient(float(losses.mean()), grads)

    def _particles(self, theta: Params, noise: Params, processes: Processes) -> Params:
        """This process's share of the perturbed meta-parameters, `(p, *shape)`."""
        steps = {name: self.std * processes.part(e) for name, e in noise.items()}
        return {
            n: torch.stack([p + steps[n], p - steps[n]], 1).flatten(0, 1) for n, p in theta.items()
        }

    def _draw(self, theta: Params, run: InnerRun) -> Params:
        """Noise `(m, *shape)` of the first members; the second members get its negative."""
        return {
            name: torch.randn(
                self.pairs, *p.shape, dtype=p.dtype, generator=run.noise_generator
            ).to(p.device)
            for name, p in theta.items()
        }

    @abstractmethod
    def _perturb(self, theta: Params, run: InnerRun) -> tuple[Params, Params]:
        """The noise of this piece, and the noise that its losses are credited to."""

    @abstractmethod
    def _steps(self, run: InnerRun) -> int:
        """Inner steps of this piece."""


@dataclass(frozen=True)
class FullES(EvolutionStrategy):
    """Trains every particle to the horizon of the run: no truncation, one estimate a run.

    Attributes:
        std: Standard deviation of the perturbations.
        pairs: Antithetic pairs.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    def _perturb(self, theta: Params, run: InnerRun) -> tuple[Params, Params]:
        noise = self._draw(theta, run)
        return noise, noise

    def _steps(self, run: InnerRun) -> int:
        return run.horizon


@dataclass(frozen=True)
class _TruncatedES(EvolutionStrategy):
    """What advances a run by `truncation` inner steps at a time."""

    truncation: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self, "truncation")

    def _steps(self, run: InnerRun) -> int:
        return self.truncation


@dataclass(frozen=True)
class PES(_TruncatedES):
    """Persistent evolution strategies (arXiv 2112.13835): truncated, and yet unbiased.

    Every truncation has noise of its own; its losses are credited to the sum of all noise that its
    particle has met in this run, because all of it brought the networks where they are.

    Attributes:
        std: Standard deviation of the perturbations.
        pairs: Antithetic pairs.
        truncation: Inner steps of an estimate.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    def _perturb(self, theta: Params, run: InnerRun) -> tuple[Params, Params]:
        noise = self._draw(theta, run)
        met = run.noise or {name: torch.zeros_like(e) for name, e in noise.items()}
        run.noise = {name: met[name] + e for name, e in noise.items()}
        return noise, run.noise


@dataclass(frozen=True)
class NoiseReuseES(_TruncatedES):
    """Noise-reuse evolution strategies (arXiv 2304.12180): a run keeps its noise to the end.

    Truncated and unbiased as `PES`, and of less variance where the truncations' losses vary
    together.

    Attributes:
        std: Standard deviation of the perturbations.
        pairs: Antithetic pairs.
        truncation: Inner steps of an estimate.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    def _perturb(self, theta: Params, run: InnerRun) -> tuple[Params, Params]:
        if run.noise is None:
            run.noise = self._draw(theta, run)
        return run.noise, run.noise
