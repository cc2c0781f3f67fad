"""Predicts a property of networks from their weights: splits, training, scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim.layers import PackedFeatures

from ..suites.harness import FitConfig, Objective, fit, seeded
from ..suites.harness import predict as read_all
from ..support import Observer, Work
from ..zoo import Collection, Zoo
from ._network import Reader, ReaderConfig
from ._readable import readable
from ._readers import Readers
from ._result import Answer, Prediction
from ._scores import class_scores, number_scores
from ._split import Split, split_networks
from ._target import Target, Task

_FIT = FitConfig(num_steps=200, lr=3e-3, weight_decay=1e-2, warmup=20, final_lr=0.05, eval_every=10)


@dataclass(frozen=True, eq=False)
class _Examples:
    """Networks of several specs in one batch, and what is predicted of them."""

    features: PackedFeatures
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor | slice) -> _Examples:
        """Some of them."""
        return _Examples(self.features.take(index), self.targets[index])


def predict(
    target: str,
    zoo: Collection | Zoo,
    *,
    group: str | None = None,
    task: Task | None = None,
    seeds: int | Sequence[int] = 3,
    validation_part: float = 0.2,
    test_part: float = 0.2,
    reader: ReaderConfig | None = None,
    num_steps: int = _FIT.num_steps,
    skip_bad: bool = False,
    on_progress: Observer = lambda work: None,
) -> Prediction:
    """Trains readers of weights to predict a label of networks, and scores them on others.

    Every seed draws a split and a reader of its own, so that the spread of the scores has both. The
    reader ignores the numbering of neurons, and reads networks of all widths and depths.

    Main arguments:
        target: Which label. Strings, and integers with few different values, are classes; other
            numbers are standardized, and errors are in the label's own unit.
        zoo: Networks and labels.
        group: A label by which the split is made: networks with equal values stay together, such
            as the checkpoints of one run or what was trained in one environment.
        task: `regression` or `classification`, where the label's type should not decide.
        seeds: How many, counted from 0, or which.

    Other arguments:
        validation_part: Part of the networks, or groups, that decides when training was best.
        test_part: Part that is scored.
        reader: The network's widths.
        num_steps: Steps of AdamW on 32 networks; the best of many validations counts.
        skip_bad: Leaves out networks without this label, or without a group, instead of an error.
        on_progress: Told of all work as it goes on: what is running, what is done of all, the time
            that is left. `print` shows it.

    Raises:
        ValueError: If there is no such label, networks lack it or cannot be read, all labels are
            equal, or there are too few networks or groups to split.
    """
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise ValueError(f"seeds must be one at least; got {seeds}.")
    if min(validation_part, test_part) <= 0 or validation_part + test_part >= 1:
        raise ValueError(
            f"validation_part and test_part must be positive and leave some for training; got "
            f"{validation_part} and {test_part}."
        )
    collection = Collection.of(zoo) if isinstance(zoo, Zoo) else zoo
    collection = collection.labelled((target,) if group is None else (target, group), skip_bad)
    collection = readable(collection, skip_bad)
    property_ = Target.of(target, collection.labels[target], task)
    groups = None if group is None else collection.labels[group]
    parts = (validation_part, test_part)
    splits = {seed: split_networks(property_, groups, parts, seed) for seed in numbers}
    networks, config = collection.networks.map(Tensor.float).pack(), reader or ReaderConfig()
    work = Work(on_progress)
    for seed in numbers:
        work.plan(f"training, seed {seed}", num_steps, kind="seeds")
    runs = []
    for seed, split in splits.items():
        stage, fitted = f"training, seed {seed}", replace(_FIT, num_steps=num_steps)
        work.begin(stage)
        told = partial(_tell, work, stage)
        runs.append(_run(property_, collection.names, networks, split, config, fitted, seed, told))
    first = splits[numbers[0]]
    return Prediction(
        target=target,
        classes=property_.classes,
        networks=(len(first.train), len(first.validation), len(first.test)),
        architectures=len(collection.networks.parts),
        scores={name: tuple(run.scores[name] for run in runs) for name in runs[0].scores},
        answers=tuple(answer for run in runs for answer in run.answers),
        skipped=collection.skipped,
        parameters=runs[0].parameters,
        seconds=float(np.mean([run.seconds for run in runs])),
        readers=Readers(
            target,
            property_.classes,
            config,
            tuple(run.reader for run in runs),
            tuple(run.units for run in runs),
        ),
    )


def _tell(work: Work, stage: str, done: int, total: int) -> None:
    work.tell(stage, done)


@dataclass(frozen=True)
class _Run:
    """What one seed reached."""

    scores: dict[str, float]
    answers: list[Answer]
    parameters: int
    seconds: float
    reader: Reader
    units: tuple[float, float]


def _run(
    target: Target,
    names: Sequence[str],
    networks: PackedFeatures,
    split: Split,
    reader: ReaderConfig,
    config: FitConfig,
    seed: int,
    on_progress: Callable[[int, int], None],
) -> _Run:
    """Trains a reader on a split, and scores it."""
    seen = target.values[split.train]
    mean, std = (0.0, 1.0) if target.classes else (seen.mean().item(), seen.std().item() or 1.0)
    wanted = target.values if target.classes else ((target.values - mean) / std).float()
    train, validation, test = (
        _Examples(networks.take(part), wanted[part])
        for part in (split.train, split.validation, split.test)
    )
    with seeded(seed, torch.device("cpu")):
        own = Reader(reader, len(target.classes) or 1)
        model = own if target.classes else nn.Sequential(own, nn.Flatten(0))
        _, seconds = fit(model, train, validation, _objective(target), config, seed, on_progress)
    written = read_all(model, test)
    truth = target.values[split.test].numpy()
    tested = [names[row] for row in split.test.tolist()]
    if target.classes:
        chances = written.double().softmax(-1).numpy()
        scores = class_scores(truth, chances, int(seen.mode().values))
        known = target.classes
        answers = [
            Answer(seed, name, known[true], known[row.argmax()], float(row.max()))
            for name, true, row in zip(tested, truth, chances, strict=True)
        ]
    else:
        predicted = written.double().numpy() * std + mean
        scores = number_scores(truth, predicted, mean)
        answers = [
            Answer(seed, name, float(true), float(answer))
            for name, true, answer in zip(tested, truth, predicted, strict=True)
        ]
    parameters = sum(p.numel() for p in model.parameters())
    return _Run(scores, answers, parameters, seconds, own.eval(), (mean, std))


def _objective(target: Target) -> Objective[_Examples]:
    loss = F.cross_entropy if target.classes else F.mse_loss
    return Objective(loss, lambda *pair: float(loss(*pair)), lower_is_better=True)
