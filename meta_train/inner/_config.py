"""Settings of the inner runs."""

from __future__ import annotations

from dataclasses import dataclass

from ..support import require_counts, require_shares


@dataclass(frozen=True)
class InnerConfig:
    """The inner runs: how many there are, how long they are, and how many networks are in each.

    Attributes:
        runs: Inner runs kept alive.
        runs_per_step: Inner runs that an outer step advances; their meta-gradients are averaged.
        min_horizon: Steps of the shortest inner run; lengths are log-uniform.
        max_horizon: Steps of the longest inner run.
        told: Share of the inner runs in which the rule is told the horizon.
        entries: Weights trained at once in a run: small networks are trained in larger groups.
        max_networks: Largest group of networks in a run.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    runs: int = 32
    runs_per_step: int = 1
    min_horizon: int = 50
    max_horizon: int = 1_000
    told: float = 0.5
    entries: int = 32_000
    max_networks: int = 32

    def __post_init__(self) -> None:
        require_counts(self, "runs", "runs_per_step", "min_horizon", "entries", "max_networks")
        require_shares(self, "told")
        if self.max_horizon < self.min_horizon:
            raise ValueError(
                f"max_horizon ({self.max_horizon}) must not be below min_horizon "
                f"({self.min_horizon})."
            )
        if self.runs_per_step > self.runs:
            raise ValueError(
                f"runs_per_step ({self.runs_per_step}) must not exceed runs ({self.runs})."
            )
