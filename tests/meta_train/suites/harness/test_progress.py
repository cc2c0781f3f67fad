"""What a suite tells of its work."""

import time
from collections.abc import Callable

import pytest
import torch

from meta_train.suites.harness import Outcome, SuiteProgress
from meta_train.support import Progress, Work

OUTCOME = Outcome(0.5, 0.5, 1.0, 3, torch.zeros(1))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its only entry."""
    times = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: times[0])
    return times


def network(now: list[float], seconds: float) -> Callable[[Progress], Outcome]:
    def run(on_progress: Progress) -> Outcome:
        for step in range(1, 11):
            now[0] += seconds / 10
            on_progress(step, 10)
        return OUTCOME

    return run


def test_the_time_left_counts_data_and_all_networks(now: list[float]) -> None:
    progress = SuiteProgress(lambda work: None, "accuracy", 2)
    work = progress.work
    for method in ("np", "hnp"):
        progress.plan(method, 10.0)
    assert work.seconds_left() is None  # nothing is known of the data
    with progress.data():
        for part in ("training", "test"):
            progress.on_data(part, 0, 50)  # announced
        now[0] = 25.0
        progress.on_data("training", 50, 50)
        assert work.seconds_left() == pytest.approx(25.0 + 40.0)
        assert work.now == "training"
    assert work.seconds_left() == pytest.approx(40.0)
    progress.run("np", 0, network(now, 10.0))
    assert work.seconds_left() == pytest.approx(30.0)
    assert work.last == "np, seed 0: accuracy 0.5"


def test_networks_from_the_cache_say_nothing_of_others(now: list[float]) -> None:
    progress = SuiteProgress(lambda work: None, "accuracy", 1)
    for method in ("np", "hnp"):
        progress.plan(method, 10.0)
    with progress.data():
        pass
    now[0] = 1.0
    progress.run("np", 0, lambda on_progress: OUTCOME)
    assert progress.work.seconds_left() == pytest.approx(10.0)


def test_a_method_that_counts_twice_never_goes_back(now: list[float]) -> None:
    seen: list[float] = []

    def observe(work: Work) -> None:
        if "vae" in work.stages:
            seen.append(work.stages["vae"].done)

    progress = SuiteProgress(observe, "accuracy", 3)
    progress.plan("vae", None)
    with progress.data():
        pass

    def run(on_progress: Progress) -> Outcome:
        for total in (10, 3):  # steps, and then networks
            for done in range(1, total + 1):
                now[0] += 1.0
                on_progress(done, total)
        return OUTCOME

    for seed in range(3):
        progress.run("vae", seed, run)
    assert seen == sorted(seen)
    assert progress.work.stages["vae"].count == "3 of 3"
    assert progress.work.seconds_left() == 0.0
