from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import unroll
from meta_train.tasks import (
    Autoencoders,
    DigitsCNNs,
    DigitsMLPs,
    ImageCNNs,
    ImageMLPs,
    Mixture,
    ModuleTask,
    PermutedInputs,
    PermutedLabels,
    ReparametrizedWeights,
    ScaledLoss,
    Tables,
    TaskFamily,
    TeacherMLPs,
    default_family,
    general_family,
    light_family,
    stack,
)
from nfn_optim import NFNRule

FAMILIES = [DigitsMLPs(), DigitsCNNs(), TeacherMLPs(), Tables(), default_family]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("seed", range(4))
def test_sampled_tasks_are_deterministic_and_well_formed(family, seed):
    task, twin = family.sample(seeded(seed)), family.sample(seeded(seed))
    params, batch = task.init(seeded(0)), task.batch(seeded(1))
    assert set(params) == set(task.spec.names)
    torch.testing.assert_close(params, twin.init(seeded(0)), rtol=0, atol=0)
    torch.testing.assert_close(batch, twin.batch(seeded(1)), rtol=0, atol=0)
    loss = task.loss(params, batch)
    assert loss.shape == ()
    assert loss.isfinite()
    stacked = stack([task.batch(seeded(s)) for s in range(2)])
    assert stacked[0].shape[:1] == (2,)


def test_mlp_families_vary_depth_width_and_input_size():
    for family in (DigitsMLPs(), TeacherMLPs()):
        specs = [family.sample(seeded(seed)).spec for seed in range(60)]
        assert {len(spec.weights) for spec in specs} == {2, 3, 4, 5}
        assert len({spec.sizes["in"] for spec in specs}) > 5
        widths = {
            size for spec in specs for label, size in spec.sizes.items() if label not in spec.io
        }
        assert min(widths) >= 8
        assert max(widths) <= 128
        assert len(widths) > 30
        assert max(spec.num_entries for spec in specs) < 50_000


def test_mixture_draws_from_every_family_by_weight():
    mixture = Mixture(((DigitsMLPs(), 1.0), (DigitsCNNs(), 1.0), (TeacherMLPs(), 0.0)))
    kinds = [len(mixture.sample(seeded(s)).spec.shapes["0.weight"]) for s in range(20)]
    assert set(kinds) == {2, 4}


def test_tables_are_standardized_and_noise_is_what_no_network_can_predict():
    def best_fit(max_noise):
        """Squared error of least squares on the table's own columns and their squares."""
        left = []
        for seed in range(20):
            inputs, targets = Tables(max_noise=max_noise, max_inputs=4).sample(seeded(seed)).data
            assert 0.5 < float(targets.var()) < 1.5
            columns = torch.cat([inputs, inputs**2, inputs**3, torch.ones(len(inputs), 1)], 1)
            fit = columns @ torch.linalg.lstsq(columns, targets, driver="gelsd").solution
            left.append(float((targets - fit).square().mean()))
        return np.mean(left)

    assert best_fit(0.0) + 0.1 < best_fit(0.8)


IMAGE_FAMILIES = [ImageMLPs, ImageCNNs, Autoencoders]


@pytest.fixture
def image_files(tmp_path, monkeypatch):
    """Small files of random images where the data sets that come from files are looked for."""
    random = np.random.default_rng(0)
    for name, shape in (("mnist", (28, 28)), ("cifar10", (32, 32, 3)[::-1])):
        arrays = {
            f"{kind}_{part}": random.integers(0, top, size, dtype=np.uint8)
            for part in ("train", "test")
            for kind, top, size in (("x", 256, (300, *shape)), ("y", 10, 300))
        }
        np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / "fashion_mnist.npz").write_bytes((tmp_path / "mnist.npz").read_bytes())
    monkeypatch.setenv("NFN_DATA", str(tmp_path))


def kinds(task):
    return {type(module) for module in task.module.modules()}


@pytest.mark.parametrize("data", ["digits", "mnist", "cifar10"])
@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_image_tasks_are_deterministic_and_trainable(family, data, image_files):
    for seed in range(3):
        task, twin = (family(data).sample(seeded(seed)) for _ in range(2))
        params = stack([task.init(seeded(s)) for s in range(2)])
        torch.testing.assert_close(params, stack([twin.init(seeded(s)) for s in range(2)]))
        batches = [stack([task.batch(seeded(s)) for s in range(k, k + 2)]) for k in range(2)]
        rule = NFNRule()
        losses = unroll(rule, task.loss, params, batches, rule.init(params, task.spec)).losses
        assert losses.isfinite().all()
        assert losses.min() > 0
        (grad,) = torch.autograd.grad(losses[1].sum(), [rule.schedule.bias])
        assert grad.all()


def test_image_families_vary_normalization_and_size():
    mlps = [ImageMLPs("digits", max_side=8).sample(seeded(s)) for s in range(30)]
    cnns = [ImageCNNs("digits").sample(seeded(s)) for s in range(30)]
    assert {nn.BatchNorm1d, nn.LayerNorm} <= set.union(*map(kinds, mlps))
    assert {nn.BatchNorm2d, nn.GroupNorm} <= set.union(*map(kinds, cnns))
    assert any(not kinds(t) & {nn.BatchNorm2d, nn.GroupNorm} for t in cnns)
    assert len({task.data[0].shape[1] for task in mlps}) > 2
    assert any(nn.AdaptiveAvgPool2d in kinds(t) for t in cnns)


def test_autoencoders_have_a_narrow_layer_and_their_inputs_as_targets():
    for seed in range(5):
        task = Autoencoders().sample(seeded(seed))
        inputs, targets = task.batch(seeded(0))
        assert torch.equal(inputs, targets)
        widths = [shape[0] for name, shape in task.spec.shapes.items() if name in task.spec.weights]
        assert min(widths) <= 32 < inputs.shape[1]
        assert widths[-1] == inputs.shape[1]


@pytest.mark.parametrize("per_tensor", [False, True])
def test_reparametrized_weights_are_the_same_function_in_other_units(per_tensor):
    family = ReparametrizedWeights(DigitsMLPs(), per_tensor=per_tensor)
    base, task = DigitsMLPs().sample(seeded(3)), family.sample(seeded(3))
    ratios = {
        n: float((p / task.init(seeded(0))[n]).nanmean()) for n, p in base.init(seeded(0)).items()
    }
    assert len({round(r, 3) for r in ratios.values()}) == (len(ratios) if per_tensor else 1)
    assert all(0.1 <= r <= 10 for r in ratios.values())
    batch = task.batch(seeded(1))
    points = {n: p.requires_grad_() for n, p in task.init(seeded(0)).items()}
    originals = {n: p.requires_grad_() for n, p in base.init(seeded(0)).items()}
    loss, original = task.loss(points, batch), base.loss(originals, batch)
    torch.testing.assert_close(loss, original)
    grads = torch.autograd.grad(loss, list(points.values()))
    for (name, ratio), grad, other in zip(
        ratios.items(), grads, torch.autograd.grad(original, list(originals.values())), strict=True
    ):
        torch.testing.assert_close(grad, ratio * other, rtol=1e-3, atol=1e-5, msg=name)


def test_scaled_loss_is_a_multiple():
    base, task = DigitsMLPs().sample(seeded(3)), ScaledLoss(DigitsMLPs()).sample(seeded(3))
    params = base.init(seeded(0))
    factors = [
        float(task.loss(params, b) / base.loss(params, b))
        for b in map(base.batch, (seeded(1),) * 2)
    ]
    assert factors[0] == pytest.approx(factors[1])
    assert 0.01 <= factors[0] <= 100
    assert abs(factors[0] - 1) > 1e-3


def test_permuted_inputs_and_labels_are_the_same_samples_in_another_order():
    base = DigitsMLPs().sample(seeded(3))
    inputs = PermutedInputs(DigitsMLPs()).sample(seeded(3))
    labels = PermutedLabels(DigitsMLPs()).sample(seeded(3))
    for pair in ("data", "validation_data"):
        before, after = getattr(base, pair), getattr(inputs, pair)
        assert torch.equal(before[0].sort(1).values, after[0].sort(1).values)
        assert not torch.equal(before[0], after[0])
        assert torch.equal(before[1], after[1])
        renamed = getattr(labels, pair)
        assert torch.equal(renamed[0], before[0])
        names = {(int(a), int(b)) for a, b in zip(before[1], renamed[1], strict=True)}
        assert len(names) == 10
        assert names != {(i, i) for i in range(10)}


def test_a_class_that_is_only_held_out_is_renamed_too():
    class Family(TaskFamily):
        def sample(self, generator):
            train, held = ((torch.zeros(n, 4), torch.arange(n)) for n in (3, 5))
            build = partial(nn.Linear, 4, 5)
            return ModuleTask(build, F.cross_entropy, train, validation_data=held)

    renamed = PermutedLabels(Family()).sample(seeded(0))
    assert renamed.validation_data[1].sort().values.tolist() == list(range(5))
    assert torch.equal(renamed.data[1], renamed.validation_data[1][:3])


def test_regression_targets_are_not_renamed():
    assert PermutedLabels(Autoencoders()).sample(seeded(0)).data[1].is_floating_point()


def test_augmentations_nest_and_name_what_does_not_fit():
    family = ScaledLoss(ReparametrizedWeights(PermutedInputs(PermutedLabels(DigitsCNNs()))))
    task = family.sample(seeded(0))
    assert task.loss(task.init(seeded(0)), task.batch(seeded(0))).isfinite()
    with pytest.raises(ValueError, match="PermutedInputs reorders the data of a ModuleTask"):
        PermutedInputs(ScaledLoss(DigitsMLPs())).sample(seeded(0))


def module_task(task):
    return task if isinstance(task, ModuleTask) else module_task(task.task)


def distinct_rows(inputs):
    """Samples as bytes; rows at every column's minimum are left out: rectified noise repeats."""
    rows = inputs.flatten(1)
    return {row.tobytes() for row in rows[(rows > rows.min(0).values).any(1)].numpy()}


BUNDLED = [default_family, general_family, light_family]


@pytest.mark.parametrize("family", [*BUNDLED, *(f("digits") for f in IMAGE_FAMILIES), Tables()])
def test_no_held_out_sample_is_a_training_sample(family, image_files):
    for seed in range(12):
        task = module_task(family.sample(seeded(seed)))
        train, held = distinct_rows(task.data[0]), distinct_rows(task.validation_data[0])
        assert held
        assert not train & held
