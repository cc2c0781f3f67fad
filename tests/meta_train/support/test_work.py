"""Long work: how much is left, what a line says, and what a terminal shows."""

import re
import sys
import threading
import time
from io import StringIO

import pytest
from rich.console import Console

from meta_train.support import Display, Work, _display, duration


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def terminal(width: int = 80) -> Console:
    return Console(file=StringIO(), force_terminal=True, width=width, color_system=None)


def shown(display: Display) -> list[str]:
    display.console.print(display.picture())
    file = display.console.file
    assert isinstance(file, StringIO)
    return file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (60, "1 min"), (3600, "1 h 0 min"), (200_000, "2 d 8 h")],
)
def test_times_have_one_unit_or_two(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_time_left_is_that_of_all_stages(clock: Clock) -> None:
    work = Work()
    work.plan("first", 10, seconds=2.0)
    work.plan("second", 4, seconds=5.0)
    assert work.seconds_left() == pytest.approx(40.0)
    work.begin("first")
    for done in range(1, 11):
        clock.now += 2.0
        work.tell("first", done)
    assert work.seconds_left() == pytest.approx(20.0)


def test_what_is_not_known_is_not_guessed(clock: Clock) -> None:
    work = Work()
    work.plan("first", 2)
    work.plan("second")
    assert work.seconds_left() is None
    work.begin("first")
    clock.now = 1.0
    work.tell("first", 1)
    assert work.seconds_left() is None  # a stage of unknown length comes after it
    assert "time left not known yet" in str(work)
    work.plan("second", 3, seconds=4.0)
    assert work.seconds_left() == pytest.approx(1.0 + 12.0)


def test_estimates_that_were_wrong_mend_those_of_later_stages(clock: Clock) -> None:
    work = Work()
    work.plan("first", 1000, seconds=1.0)
    work.plan("second", 1000, seconds=1.0)
    work.begin("first")
    for done in range(1, 1001):
        clock.now += 3.0  # a busy machine
        work.tell("first", done)
    assert work.seconds_left() == pytest.approx(3000.0, rel=0.15)


def test_one_slow_step_is_not_taken_for_all(clock: Clock) -> None:
    work = Work()
    work.plan("first", 1000, seconds=1.0)
    work.plan("second", 1000, seconds=1.0)
    work.begin("first")
    clock.now += 50.0  # compiles
    work.tell("first", 1)
    left = work.seconds_left()
    assert left is not None
    assert 2000.0 < left < 10_000.0  # and not 100,000


def test_stages_of_one_kind_share_their_pace(clock: Clock) -> None:
    work = Work()
    for seed in range(3):
        work.plan(f"seed {seed}", 10, kind="seeds")
    work.begin("seed 0")
    clock.now = 5.0
    work.tell("seed 0", 5)
    assert work.seconds_left() == pytest.approx(25.0)


def test_what_comes_from_the_cache_says_nothing_about_the_pace(clock: Clock) -> None:
    work = Work()
    work.plan("runs", 100)
    work.skip("runs", 50)
    work.begin("runs")
    clock.now = 2.0
    work.tell("runs", 51)
    assert work.seconds_left() == pytest.approx(98.0)


def test_the_time_left_runs_on_between_two_words(clock: Clock) -> None:
    work = Work()
    work.plan("runs", 4)
    work.begin("runs")
    clock.now = 10.0
    work.tell("runs", 1)
    clock.now = 14.0
    assert work.seconds_left() == pytest.approx(26.0)
    clock.now = 1000.0  # late: but two more runs are to come
    assert work.seconds_left() == pytest.approx(20.0)


def test_a_line_says_what_runs_what_is_done_and_what_is_left(clock: Clock) -> None:
    work = Work()
    work.plan("looking", 1)
    work.plan("wider grids", 0.0)  # nothing to do
    work.plan("tuning", 2000, seconds=3.6)
    work.end("looking")
    work.begin("tuning", "digits by adamw")
    clock.now = 3600.0
    work.tell("tuning", 1000, last="end loss 0.1")
    assert str(work) == (
        "tuning: 1,000 of 2,000, stage 2 of 2, about 1 h 0 min left, now digits by adamw, "
        "end loss 0.1"
    )


def busy() -> Work:
    """Work with long names and numbers, in the middle."""
    work = Work()
    for number in range(12):
        work.plan(f"schedule-free@0.0025, {number}", 20_000, seconds=1.0)
    for number in range(5):
        work.end(f"schedule-free@0.0025, {number}")
    work.begin("schedule-free@0.0025, 5", "finetune-autoencoder by schedule-free@0.0025, " * 3)
    work.tell("schedule-free@0.0025, 5", 12_345, last="meta-loss -10.432, held-out -10.550")
    return work


def test_work_of_which_nothing_is_planned_yet_can_be_shown() -> None:
    work = Work()
    assert work.seconds_left() is None
    assert str(work) == "time left not known yet"


def test_work_can_be_shown_while_stages_are_planned() -> None:
    work, interval = Work(), sys.getswitchinterval()

    def plan() -> None:
        for number in range(2_000):
            work.plan(str(number), 1, seconds=1.0)

    planning = threading.Thread(target=plan)
    sys.setswitchinterval(1e-6)
    try:
        planning.start()
        while planning.is_alive():
            work.seconds_left()
    finally:
        sys.setswitchinterval(interval)
        planning.join()
    assert work.seconds_left() == pytest.approx(2_000, rel=0.01)


def test_a_picture_fits_into_80_columns_and_cuts_no_path() -> None:
    path = "/a/folder/that/has/a/long/name/" + "deep/in/a/tree/" * 4 + "page.md"
    display = Display(path, console=terminal())
    display(busy())
    lines = shown(display)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    text = "\n".join(lines)
    for part in ("12,345 of 20,000", "meta-loss -10.432, held-out -10.550", " left, ", "3 stages"):
        assert part in text
    assert path in re.sub(r"\s", "", text)


def test_a_terminal_gets_a_picture_and_what_is_said_stands_above_it() -> None:
    console = terminal()
    with Display("out", console=console) as display:
        display(busy())
        display.say("warning: look")
    assert isinstance(console.file, StringIO)
    written = console.file.getvalue()
    assert written.index("warning: look") < written.rindex("schedule-free@0.0025, 5")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_elsewhere_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr(_display, "LINE_EVERY", 0.01)
    console = Console(file=StringIO(), force_terminal=is_terminal, width=80, color_system=None)
    assert isinstance(console.file, StringIO)
    with Display("out/page.md", plain=is_terminal, console=console) as display:
        work = Work(display)
        work.plan("reading", 2)
        work.plan("training", 3)
        work.begin("reading")
        while "reading: 0 of 2" not in console.file.getvalue():
            time.sleep(0.01)
        work.begin("training")
        assert "training: 0 of 3" in console.file.getvalue()  # at once
    lines = console.file.getvalue().splitlines()
    assert lines.count("files: out/page.md") == 1
    assert not any("━" in line for line in lines)


def test_work_that_ends_at_once_prints_nothing() -> None:
    console = Console(file=StringIO(), width=80)
    with Display("out", console=console) as display:
        work = Work(display)
        work.plan("reading", 2)
        work.begin("reading")
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue() == ""
