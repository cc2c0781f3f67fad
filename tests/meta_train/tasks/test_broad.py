import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from meta_train.data import IMAGES, file_of
from meta_train.inner import Losses
from meta_train.tasks import (
    ImageMLPs,
    ReparametrizedWeights,
    Task,
    broad_family,
    default_family,
    files_of,
    general_family,
    light_family,
    stack,
)
from meta_train.tasks._draw import Dice
from meta_train.tasks._samples import Split
from meta_train.tasks.architectures import Budget, draw_mlp, measure
from meta_train.tasks.broad import SUB_FAMILIES, FineTuning, ImageClassifiers
from nfn_optim import NFNOptimizer

BUNDLED = {
    "broad_family": broad_family,
    "default_family": default_family,
    "general_family": general_family,
    "light_family": light_family,
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def first_losses(task: Task) -> torch.Tensor:
    """Of two networks."""
    params = stack([task.init(seeded(s)) for s in (0, 1)])
    batch = stack([task.batch(seeded(s)) for s in (0, 1)])
    losses = Losses(task.loss, task.carried).tried(params, batch)
    values, _ = losses(params, batch, losses.seed(seeded(0)))
    return values


def innermost(task: Task) -> Task:
    return innermost(task.task) if hasattr(task, "task") else task


@pytest.mark.parametrize("name", SUB_FAMILIES)
@pytest.mark.filterwarnings("ignore:NFNOptimizer reads:UserWarning")
def test_making_an_optimizer_changes_nothing_of_its_network(
    name: str, data_of_meta_training: Path, untouched: Callable[[nn.Module], Any]
) -> None:
    family, _ = SUB_FAMILIES[name]
    if isinstance(family, FineTuning):
        family = replace(family, max_steps=12)
    for seed in (1, 2, 3):
        module = innermost(family.sample(seeded(seed))).module
        module.to_empty(device="cpu")
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data.zero_()
        with untouched(module):
            NFNOptimizer(module)


def shapes(task: Task) -> dict[str, torch.Size]:
    return {name: param.shape for name, param in task.init(seeded(0)).items()}


@pytest.mark.parametrize("name", SUB_FAMILIES)
def test_every_kind_of_task_is_decided_by_its_seed_and_can_be_trained(
    name: str, data_of_meta_training: Path
) -> None:
    family, weight = SUB_FAMILIES[name]
    assert weight > 0
    if isinstance(family, FineTuning):
        family = replace(family, max_steps=12)
    tasks = [family.sample(seeded(seed)) for seed in (1, 1, 2)]
    assert shapes(tasks[0]) == shapes(tasks[1])
    batches = [task.batch(seeded(0)) for task in tasks]
    torch.testing.assert_close(batches[0], batches[1], rtol=0, atol=0)
    torch.testing.assert_close(tasks[0].init(seeded(0)), tasks[1].init(seeded(0)), rtol=0, atol=0)
    same = [part.shape for part in batches[0]] == [part.shape for part in batches[2]]
    assert not same or not all(map(torch.equal, batches[0], batches[2]))
    for task in tasks[1:]:
        values = first_losses(task)
        assert values.shape == (2,)
        assert values.isfinite().all()
        assert (values >= 0).all()
        module = innermost(task).module
        assert NFNOptimizer(module, checkpoint="untrained").coverage().share >= 0.95


def test_fine_tuned_networks_know_classes_that_are_only_held_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = torch.zeros(6, 1, 8, 8)
    data = Split(images[:4], torch.arange(4), images, torch.arange(6))
    monkeypatch.setattr(FineTuning, "_draw_images", lambda self, dice, side: data)
    task = FineTuning(draw_mlp, max_steps=6).sample(seeded(0))
    task.batch_size = 64  # every class is drawn
    assert task.loss(task.init(seeded(0)), task.validation_batch(seeded(0))).isfinite()


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_families_read_no_held_out_file(name: str, data_of_meta_training: Path) -> None:
    allowed = {
        str(path.relative_to(data_of_meta_training)) for path in data_of_meta_training.rglob("*.*")
    }
    assert files_of(BUNDLED[name]) <= allowed
    for seed in range(8):  # the folder holds nothing else: to read more is to fail
        BUNDLED[name].sample(seeded(seed))


def test_the_broad_family_reads_every_file_of_meta_training(data_of_meta_training: Path) -> None:
    held = {str(p.relative_to(data_of_meta_training)) for p in data_of_meta_training.rglob("*.*")}
    assert files_of(broad_family) == held


def test_files_are_found_in_families_within_families() -> None:
    assert files_of(ReparametrizedWeights(ImageMLPs("mnist"))) == {"mnist.npz"}
    assert files_of(ReparametrizedWeights(ImageMLPs("digits"))) == set()
    with pytest.raises(ValueError, match="'fashion_mnist' is not for meta-training"):
        files_of(ReparametrizedWeights(ImageMLPs("fashion_mnist")))


def test_without_its_files_the_broad_family_says_which_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NFN_DATA", raising=False)
    monkeypatch.setenv("NFN_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="broad_family.*default_family") as caught:
        broad_family.sample(seeded(0))
    assert "images/usps.npz" in str(caught.value)
    assert "NFN_DATA" in str(caught.value)


def test_networks_stay_within_their_budget() -> None:
    budget = Budget(max_weights=5_000, rare_weights=20_000, rare=0.3, max_work=1e6, min_work=1e5)
    sample, sizes = torch.zeros(1, 20), []
    for seed in range(40):
        build, batch = budget.draw(Dice(seeded(seed)), lambda d: draw_mlp(d, sample, 5), sample)
        size, work = measure(build, sample)
        assert size == sum(p.numel() for p in build().parameters())
        assert 4 <= batch <= 1_024
        assert work * batch <= 1e6
        sizes.append(size)
    assert max(sizes) <= 20_000
    assert 2 <= sum(size > 5_000 for size in sizes) <= 25


def test_work_is_counted_where_weights_are_used() -> None:
    image, series = torch.zeros(1, 2, 6, 6), torch.zeros(1, 5, 3)
    assert measure(lambda: nn.Conv2d(2, 4, 3, padding=1), image) == (76, 72 * 36)
    assert measure(lambda: nn.ConvTranspose2d(2, 4, 2, stride=2), image) == (36, 32 * 36)
    assert measure(lambda: nn.Linear(3, 7), series) == (28, 21 * 5)
    assert measure(lambda: nn.LSTM(3, 4, batch_first=True), series)[1] == 4 * (12 + 16) * 5


def test_held_out_images_of_the_real_files_are_not_trained_on() -> None:
    folder = os.environ.get("NFN_DATA") or "absent"
    if not Path(folder, file_of("usps") or "").is_file():
        pytest.skip("$NFN_DATA has no images/usps.npz")
    assert all(Path(folder, file_of(name) or "").is_file() for name in IMAGES)
    task = ImageClassifiers(draw_mlp, ("usps",)).sample(seeded(0))
    train, held = ({x.numpy().tobytes() for x in part[0]} for part in
                   (task.data, task.validation_data))  # fmt: skip
    assert not train & held
