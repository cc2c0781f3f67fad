"""Settings of a meta-training run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """How a rule is meta-trained; defaults are those of the shipped checkpoint.

    Attributes:
        seed: Seeds task sampling, initial networks, batches and the rule's initial weights.
        outer_steps: Updates of the meta-parameters.
        truncation: Inner steps differentiated at once.
        min_horizon: Shortest inner run; lengths are log-uniform.
        max_horizon: Longest inner run.
        runs: Inner runs kept alive; each outer step advances one of them.
        entries: Weights trained at once in a run: small networks are trained in larger groups.
        max_networks: Largest group of networks in a run.
        hidden: Hidden channels of the rule.
        initial_lr: Step size of the untrained rule.
        lr: Peak outer learning rate.
        final_lr: Outer learning rate at the end of the cosine.
        warmup: Outer steps of linear warm-up.
        clip: Largest norm of a meta-gradient.
        loss_floor: `c` in the meta-loss `log(loss + c)`; a run whose loss falls below it is over.
        ema: Decay of the average of the meta-parameters that is kept as the result.
        save_every: Outer steps between checkpoints.
        threads: Intra-op threads; one is fastest on small networks.
        device: Where networks and rule live: `cpu`, `cuda`, `cuda:1`, ...
    """

    seed: int = 0
    outer_steps: int = 20_000
    truncation: int = 20
    min_horizon: int = 50
    max_horizon: int = 2_000
    runs: int = 32
    entries: int = 24_000
    max_networks: int = 8
    hidden: int = 16
    initial_lr: float = 1e-2
    lr: float = 1e-3
    final_lr: float = 5e-5
    warmup: int = 200
    clip: float = 0.5
    loss_floor: float = 1e-5
    ema: float = 0.998
    save_every: int = 500
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Checks ranges.

        Raises:
            ValueError: Naming the setting that is out of range.
        """
        for name in ("outer_steps", "truncation", "min_horizon", "runs", "entries", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.max_horizon < self.min_horizon:
            raise ValueError(
                f"max_horizon ({self.max_horizon}) must not be below min_horizon "
                f"({self.min_horizon})."
            )
        for name in ("lr", "clip", "loss_floor"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")
