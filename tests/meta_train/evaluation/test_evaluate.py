"""The comparison of optimizers: what is trained, what is read off the curves, what is kept."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meta_train import Contender, EvaluationTask, evaluate
from meta_train.evaluation import _statistics as statistics
from meta_train.evaluation import _sweep as sweeps
from meta_train.evaluation import _sweep_cache as caches
from meta_train.evaluation import _tasks as _evaluation
from meta_train.evaluation._contenders import BASELINES, SGD, Setting, find_baseline
from meta_train.evaluation._measures import measure
from meta_train.evaluation._report import plot, to_json, to_markdown
from meta_train.evaluation._sweep import Sweep, run_sweep
from meta_train.evaluation._sweep_cache import SweepCache
from meta_train.evaluation._tasks import TASK_SETS, find_tasks
from meta_train.tasks import Dataset, ModuleTask, Task
from nfn_optim import AdamRule, NFNRule, save_rule

STEPS = 30


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks stall with several threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_task(seed: int = 0) -> ModuleTask:
    """Three noisy classes of six-dimensional points, in float64."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (120,), generator=generator)
    points = torch.randn(120, 6, generator=generator, dtype=torch.float64)
    points[:, :3] += 2 * F.one_hot(labels, 3)

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()

    train, test = (points[:90], labels[:90]), (points[90:], labels[90:])
    return ModuleTask(build, F.cross_entropy, train, test_data=test, batch_size=16)


def named(task: Task | None = None, **changes: object) -> EvaluationTask:
    return replace(EvaluationTask("toy", lambda: task or make_task(), STEPS), **changes)


def adam_at(*rates: float) -> Contender:
    return replace(BASELINES["adam"], rates=rates)


def make_sweep(curves: list[list[float]]) -> Sweep:
    """Curves of one seed each, one a setting."""
    losses = np.array(curves, dtype=np.float64).T[:, :, None]  # (steps, settings, 1)
    settings = tuple(Setting(float(i), "constant") for i in range(len(curves)))
    return Sweep(settings, (0,), losses, {"test_accuracy": np.arange(len(curves))[:, None] / 10})


# Training


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_stacked_runs_equal_torch_optim(name: str, schedule: str) -> None:
    contender, task, seeds = BASELINES[name], make_task(), (0, 3)
    sweep = run_sweep(task, contender, seeds, STEPS)
    rate = contender.rates[2]
    setting = sweep.settings.index(Setting(rate, schedule))
    for column, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        module = task.build()
        module.load_state_dict(task.init(generator))
        assert contender.make_optimizer is not None
        optimizer = contender.make_optimizer(module, rate)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        losses = []
        for _ in range(STEPS):
            inputs, labels = task.batch(generator)
            optimizer.zero_grad()
            losses.append(F.cross_entropy(module(inputs), labels))
            losses[-1].backward()
            optimizer.step()
            if schedule == "cosine":
                scheduler.step()
        expected = torch.stack(losses).detach().numpy()
        np.testing.assert_allclose(sweep.losses[:, setting, column], expected, rtol=1e-6)
        accuracy = task.evaluate(dict(module.named_parameters()))["test_accuracy"]
        assert sweep.scores["test_accuracy"][setting, column] == pytest.approx(float(accuracy))


def test_a_seed_means_the_same_network_and_batches_for_every_optimizer() -> None:
    task, seeds = make_task(), (0, 1, 2)
    still = [replace(c, rates=(0.0, 0.0)) for c in (BASELINES["adam"], SGD)]
    adam, sgd = (run_sweep(task, contender, seeds, STEPS).losses for contender in still)
    np.testing.assert_array_equal(adam, sgd)
    np.testing.assert_array_equal(adam[:, 0], adam[:, 1])
    assert not np.isclose(adam[:, 0, 0], adam[:, 0, 1]).any()
    alone = run_sweep(task, still[0], (2,), STEPS).losses
    np.testing.assert_allclose(alone[:, 0, 0], adam[:, 0, 2], rtol=1e-12)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()
    whole = run_sweep(task, BASELINES["adam"], (0, 1, 2), STEPS)
    monkeypatch.setattr(sweeps, "networks_at_once", lambda task: 4)
    pieces = run_sweep(task, BASELINES["adam"], (0, 1, 2), STEPS)
    np.testing.assert_allclose(pieces.losses, whole.losses, rtol=1e-9)
    np.testing.assert_allclose(pieces.scores["test_accuracy"], whole.scores["test_accuracy"])


def test_larger_networks_are_trained_fewer_at_once() -> None:
    def networks(width: int) -> int:
        build: Callable[[], nn.Module] = lambda: nn.Linear(10, width)  # noqa: E731
        data = torch.ones(4, 10), torch.zeros(4, dtype=torch.long)
        return sweeps.networks_at_once(ModuleTask(build, F.cross_entropy, data))

    assert networks(10) > 10 * networks(1_000) > 10
    assert networks(200_000) == 1


# Reading curves


def test_steps_to_a_loss_counts_the_steps_that_were_taken() -> None:
    losses = np.concatenate([np.full(40, 2.0), np.full(60, 1.0)])
    # The window holds only ones once 40 + 25 steps are taken; 1.2 is reached with 20 of 25.
    assert statistics.steps_to(losses, 1.0) == 65
    assert statistics.steps_to(losses, 1.2) == 60
    assert statistics.steps_to(losses, 2.0) == 25
    assert statistics.steps_to(losses, 0.9) == np.inf


def test_a_run_reaches_its_own_final_loss_in_its_own_steps() -> None:
    losses = np.linspace(3, 1, 200)
    assert statistics.steps_to(losses, float(statistics.final_loss(losses))) == 200


def test_losses_are_means_of_the_last_window() -> None:
    losses = np.arange(100.0)
    assert statistics.final_loss(losses) == np.arange(75, 100).mean()
    assert statistics.loss_at(losses, 50) == np.arange(25, 50).mean()
    assert statistics.smoothed(losses)[0] == np.arange(25).mean()
    assert statistics.mean_loss(losses) == 49.5


def test_diverged_runs_are_told_from_others() -> None:
    falling, rising = np.linspace(2, 1, 50), np.linspace(1, 2, 50)
    broken, back = falling.copy(), falling.copy()
    broken[-1], back[10] = np.inf, np.nan
    losses = np.stack([falling, rising, broken, back], axis=1)
    assert statistics.diverged(losses).tolist() == [False, True, True, True]
    assert np.isinf(statistics.mean_loss(losses)[2:]).all()


def test_each_metric_is_taken_at_the_setting_that_is_best_for_it() -> None:
    early, late, broken = [1.0] * 60 + [0.9] * 40, [2.0] * 60 + [0.5] * 40, [0.1] * 99 + [np.nan]
    metrics = measure(make_sweep([early, late, broken]))
    assert metrics["mean_loss"].rate == 0
    assert metrics["final_loss"].rate == 1
    assert metrics["loss_50"].rate == 2
    assert metrics["final_loss"].mean == pytest.approx(0.5)
    assert metrics["test_accuracy"].mean == pytest.approx(0.1)  # of the best final loss
    assert "loss_200" not in metrics


def test_interquartile_mean_ignores_outliers() -> None:
    groups = [np.array([1.0, 2.0, 3.0, 100.0]), np.array([2.0, 2.0, 3.0, -100.0])]
    assert statistics.interquartile_mean(groups) == pytest.approx((2 + 2 + 2 + 3) / 4)
    interval = statistics.bootstrap_interval(groups)
    assert interval is not None
    assert interval[0] < 2.25 < interval[1]
    assert statistics.bootstrap_interval([np.array([1.0])]) is None


def test_the_bootstrap_resamples_within_tasks() -> None:
    """Without spread between seeds there is none in the interval, however tasks differ."""
    assert statistics.bootstrap_interval([np.full(3, 1.0), np.full(3, 9.0)]) == (5.0, 5.0)


# Comparing


def test_a_rule_compared_with_itself_is_even() -> None:
    itself = replace(adam_at(0.03), schedules=("constant",))
    result = evaluate(AdamRule(0.03), [named()], baselines=[itself], num_seeds=3).tasks[0]
    adam = result.baselines["adam"]
    assert adam.ratios == pytest.approx({"mean_loss": 1.0, "final_loss": 1.0})
    assert np.minimum(adam.steps, STEPS).tolist() == list(adam.own_steps)
    assert adam.metrics["test_accuracy"].mean == result.ours["test_accuracy"].mean
    assert adam.wall_clock_speedup is None
    assert adam.num_diverged == result.num_diverged == 0
    assert adam.num_runs == 3


def test_a_faster_rule_has_a_speedup_and_a_slower_one_none() -> None:
    slow = replace(adam_at(1e-3), schedules=("constant",))
    fast = evaluate(AdamRule(0.05), [named()], baselines=[slow], num_seeds=2)
    speedup = fast.tasks[0].baselines["adam"].speedup
    assert speedup.mean > 1
    assert speedup.mean == pytest.approx(np.mean(speedup.per_seed))
    assert fast.aggregate["adam"].iqm == pytest.approx(speedup.mean)
    quick = replace(adam_at(0.05), schedules=("constant",))
    slow_rule = evaluate(AdamRule(1e-4), [named()], baselines=[quick], num_seeds=2)
    assert slow_rule.tasks[0].baselines["adam"].speedup.mean == 0
    assert slow_rule.aggregate["adam"].worst == 0


def test_the_grid_grows_where_its_end_is_best() -> None:
    result = evaluate(AdamRule(0.03), [named()], baselines=[adam_at(1e-5, 1e-4)], num_seeds=1)
    adam = result.tasks[0].baselines["adam"]
    assert adam.extended_rates == pytest.approx((1e-3, 1e-2, 1e-1, 1))
    assert adam.metrics["mean_loss"].rate > 1e-3
    assert "which was extended by 0.001, 0.01, 0.1, 1." in to_markdown(result)


def test_a_prescribed_grid_does_not_grow() -> None:
    task = named(rates=(1e-5, 1e-4), schedules=("constant",))
    adam = evaluate(AdamRule(0.03), [task], baselines=[BASELINES["adam"]], num_seeds=1)
    comparison = adam.tasks[0].baselines["adam"]
    assert comparison.extended_rates == ()
    assert comparison.num_runs == 2


def test_checkpoints_are_timed_beside_the_baselines(tmp_path: Path) -> None:
    path = tmp_path / "rule.safetensors"
    save_rule(NFNRule(), path)
    result = evaluate(str(path), [named(make_task_32())], baselines=[adam_at(0.01)], num_seeds=2)
    task = result.tasks[0]
    assert set(task.seconds_per_step) == {"ours", "adam"}
    adam = task.baselines["adam"]
    factor = task.seconds_per_step["adam"] / task.seconds_per_step["ours"]
    assert adam.wall_clock_speedup == pytest.approx(adam.speedup.mean * factor)
    written = json.loads(json.dumps(to_json(result), allow_nan=False))
    assert written["tasks"][0]["ours"]["mean_loss"]["mean"] == task.ours["mean_loss"].mean
    plot(result.tasks, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def make_task_32() -> ModuleTask:
    task = make_task()
    inputs, labels = task.data
    return ModuleTask(
        lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
        F.cross_entropy,
        (inputs.float(), labels),
    )


def test_progress_ends_where_it_said_it_would() -> None:
    seen: list[tuple[float, float]] = []
    evaluate(
        AdamRule(0.03),
        [named()],
        baselines=[adam_at(1e-5, 1e-4)],
        num_seeds=2,
        on_progress=lambda label, done, total: seen.append((done, total)),
    )
    assert all(done <= total for done, total in seen)
    assert seen[-1][0] == seen[-1][1]


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one task, one baseline and one seed"):
        evaluate(AdamRule(0.1), [])


# Baselines by name


def test_a_users_factory_is_a_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules.py").write_text(
        "from nfn_optim import SGDRule\nplain = SGDRule\ndef wrong(lr):\n    return lr\n"
    )
    monkeypatch.chdir(tmp_path)
    contender = find_baseline("my_rules:plain")
    assert contender.make_rule(torch.ones(2)).momentum == 0
    with pytest.raises(ValueError, match="returned no UpdateRule"):
        find_baseline("my_rules:wrong")
    for name in ("my_rules:nothing", "no_such_module:x", "lion"):
        with pytest.raises(ValueError, match=f"baseline {name!r}"):
            find_baseline(name)


# Cache


def test_a_kept_sweep_is_read_back_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []

    def counting(*arguments: Any) -> Sweep:
        lengths.append(arguments[3])
        return run_sweep(*arguments)

    monkeypatch.setattr(caches, "run_sweep", counting)
    cache, task, advanced = SweepCache(tmp_path), make_task(), []
    arguments = ("toy", task, BASELINES["adam"], (0, 1), STEPS, advanced.append)
    first, computed = cache.run(*arguments), sum(advanced)
    second = cache.run(*arguments)
    assert lengths.count(STEPS) == 1
    assert sum(advanced) == 2 * computed == 2 * STEPS * 14 * 2
    assert first.settings == second.settings
    assert first.seeds == second.seeds
    np.testing.assert_array_equal(first.losses, second.losses)
    np.testing.assert_array_equal(first.losses, run_sweep(*arguments[1:5]).losses)
    np.testing.assert_array_equal(first.scores["test_accuracy"], second.scores["test_accuracy"])


def test_a_change_of_anything_that_matters_is_another_entry() -> None:
    task, adam = make_task(), BASELINES["adam"]

    def decayed(lr: Tensor) -> AdamRule:
        return AdamRule(lr, weight_decay=1e-6)

    keys = [
        caches.sweep_key(task, adam, (0, 1), STEPS),
        caches.sweep_key(make_task(1), adam, (0, 1), STEPS),
        caches.sweep_key(task, replace(adam, make_rule=decayed), (0, 1), STEPS),
        caches.sweep_key(task, adam_at(0.1), (0, 1), STEPS),
        caches.sweep_key(task, adam, (0, 2), STEPS),
        caches.sweep_key(task, adam, (0, 1), STEPS + 1),
    ]
    assert len(set(keys)) == len(keys)
    assert caches.sweep_key(make_task(), adam, (0, 1), STEPS) == keys[0]


# The named tasks


@pytest.fixture
def noise_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise instead of images, so that no data set has to be there."""

    def load(name: str) -> Dataset:
        size = 8 if name == "digits" else 28
        images = torch.rand(600, 1, size, size, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(600) % 10
        return Dataset(images, labels, images[:10], labels[:10])

    monkeypatch.setattr(_evaluation, "load_data", load)


@pytest.mark.usefixtures("noise_data")
@pytest.mark.parametrize("task", [t for s in TASK_SETS.values() for t in s], ids=lambda t: t.name)
def test_every_named_task_trains_and_is_scored(task: EvaluationTask) -> None:
    built, generator = task.build(), torch.Generator().manual_seed(0)
    params = {n: p.requires_grad_() for n, p in built.init(generator).items()}
    loss = built.loss(params, built.batch(generator))
    grads = torch.autograd.grad(loss, list(params.values()))
    assert all(g.isfinite().all() for g in grads)
    assert set(built.spec.axes) == set(params)
    scores: dict[str, Tensor] = built.evaluate(params)
    assert len(scores) == 1
    assert next(iter(scores)) in ("test_accuracy", "test_loss")


def test_tasks_are_found_by_set_and_by_name() -> None:
    assert find_tasks(["digits"]) == list(TASK_SETS["digits"])
    twice = find_tasks(["digits-64-32-10", "digits"])
    assert len(twice) == len(TASK_SETS["digits"])
    names = [task.name for tasks in TASK_SETS.values() for task in tasks]
    assert len(set(names)) == len(names)
    with pytest.raises(ValueError, match=r"'cifar'\. Choose sets \(digits, held-out, yardstick\)"):
        find_tasks(["digits", "cifar"])
