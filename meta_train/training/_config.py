"""All settings of a meta-training run, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from ..estimators import PES, FullES, MetaLoss, NoiseReuseES, TruncatedBPTT
from ..inner import InnerConfig
from ..support import require_counts
from ._outer import OuterConfig
from ._rule import RuleConfig
from ._validation import ValidationConfig

# On the command line the options of these groups go without the name of the group.
_Short = tyro.conf.OmitArgPrefixes

Estimator = (
    Annotated[TruncatedBPTT, _Short]
    | Annotated[FullES, _Short]
    | Annotated[PES, _Short]
    | Annotated[NoiseReuseES, _Short]
)


@dataclass(frozen=True)
class RunConfig:
    """How a rule is meta-trained; defaults are those of the first phase of the weights `small`.

    `FINE_TUNING` are the settings of a run that goes on from a checkpoint.

    Attributes:
        seed: Seeds task sampling, initial networks, batches and the rule's initial weights.
        outer_steps: Updates of the meta-parameters.
        save_every: Outer steps between checkpoints.
        threads: Intra-op threads; one is fastest on small networks.
        device: Where networks and rule live: `cpu`, `cuda`, `cuda:1`, ...
        inner: The inner runs: how many there are, how long they are, how many networks are in each.
        meta_loss: The meta-loss: losses on the way of an inner run plus the loss reached.
        estimator: Estimator of the meta-gradient.
        rule: The rule that is meta-trained: where it starts, and what of it is trained.
        outer: How the meta-parameters move along their gradient.
        validation: Meta-validation, which keeps the best result so far.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    seed: int = 0
    outer_steps: int = 3_200
    save_every: int = 200
    threads: int = 1
    device: str = "cpu"
    inner: Annotated[InnerConfig, _Short] = field(default_factory=InnerConfig)
    meta_loss: Annotated[MetaLoss, _Short] = field(default_factory=MetaLoss)
    estimator: Estimator = field(default_factory=TruncatedBPTT)
    rule: Annotated[RuleConfig, _Short] = field(default_factory=RuleConfig)
    outer: Annotated[OuterConfig, _Short] = field(default_factory=OuterConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        require_counts(self, "outer_steps", "save_every", "threads")


FINE_TUNING = RunConfig(
    outer_steps=300,
    save_every=50,
    rule=RuleConfig(init="default"),
    outer=OuterConfig(lr=1e-4, final_lr=1e-5, warmup=10, ema=0.95),
    validation=ValidationConfig(every=100),
)
"""A short run at a low rate, which goes on from a checkpoint.

What `nfn-optim train --init` takes for settings that are not given.
"""
