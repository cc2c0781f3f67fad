"""What the command line says of exceptions, by where they come from."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import fails_with
from meta_train.commands._errors import explain
from meta_train.commands._main import main
from meta_train.support import add_note
from nfn_optim import NFNRule, __version__, save_rule

FAMILY = """
import torch
from torch import nn
from meta_train import TaskFamily
from meta_train.tasks import ModuleTask
import beside

X = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))

class Mine(ModuleTask):
    def __init__(self, place):
        self.place = place
        super().__init__(lambda: nn.Linear(3, 1), self.own_loss, (X, X[:, :1]))
    def raises(self, place):
        if place == self.place:
            raise beside.Own("scene_17")
    def init(self, generator):
        self.raises("init")
        return super().init(generator)
    def batch(self, generator):
        self.raises("batch")
        return super().batch(generator)
    def own_loss(self, outputs, targets):
        self.raises("loss")
        return nn.functional.mse_loss(outputs, targets)

class Family(TaskFamily):
    def __init__(self, place): self.place = place
    def sample(self, generator):
        task = Mine(self.place)
        task.raises("sample")
        return task

sample, init, batch, loss = map(Family, ("sample", "init", "batch", "loss"))
family = Family("")

def peer(model): raise beside.Own("scene_17")
def problem(): return nn.Linear(3, 1), [X], lambda model, batch: Mine("loss").raises("loss")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with a family in it."""
    (tmp_path / "my_families.py").write_text(FAMILY)
    (tmp_path / "beside.py").write_text("class Own(LookupError): pass\n")
    (tmp_path / "torn.py").write_text("family = 1 / 0\n")
    (tmp_path / "slip.py").write_text("def family(:\n")
    (tmp_path / "lacking.py").write_text("import no_such_module_of_hers\n")
    monkeypatch.chdir(tmp_path)
    for module in ("my_families", "beside", "torn", "slip", "lacking"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def assert_users(message: str, file: str, code: str, last: str) -> None:
    """Only frames of the user's file, with its code, and the exception at the end."""
    lines = message.rstrip().splitlines()
    frames = [line for line in lines if line.startswith('  File "')]
    assert frames
    assert all(file in frame for frame in frames)
    assert any(code in line for line in lines)
    assert lines[-1] == f"nfn-optim: error: {last}"
    assert len(lines) < 15


@pytest.mark.parametrize("place", ["sample", "init", "batch", "loss"])
def test_what_a_family_raises_shows_the_users_frames(
    folder: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    message = fails_with(capsys, 1, "train", "--tasks", f"my_families.py:{place}", "--out", "x.st")
    code = 'raise beside.Own("scene_17")'
    assert_users(message, "my_families.py", code, "Own: scene_17")


def test_what_a_peer_or_a_problem_raises_shows_the_users_frames(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_rule(NFNRule(), "rule.st")
    code, last = 'raise beside.Own("scene_17")', "Own: scene_17"
    common = ("--checkpoint", "rule.st", "--peers", "sgd@0.1", "--processes", "1")
    given = ("evaluate", *common, "--tasks", "sines-8-32-1", "--peer", "my_families:peer")
    assert_users(fails_with(capsys, 1, *given), "my_families.py", code, last)
    given = ("race", "my_families:problem", *common, "--steps", "2")
    assert_users(fails_with(capsys, 1, *given), "my_families.py", code, last)


@pytest.mark.parametrize(
    ("tasks", "code", "last"),
    [
        ("torn.py:family", "family = 1 / 0", "ZeroDivisionError: division by zero"),
        ("torn:family", "family = 1 / 0", "ZeroDivisionError: division by zero"),
        (
            "lacking:family",
            "import no_such_module_of_hers",
            "ModuleNotFoundError: No module named 'no_such_module_of_hers'",
        ),
        ("slip.py:family", "def family(:", "SyntaxError: invalid syntax (slip.py, line 1)"),
    ],
)
def test_what_a_file_of_tasks_raises_shows_the_users_frames(
    folder: Path, capsys: pytest.CaptureFixture[str], tasks: str, code: str, last: str
) -> None:
    message = fails_with(capsys, 1, "train", "--tasks", tasks, "--out", "x.st")
    assert_users(message, tasks.split(":")[0].removesuffix(".py") + ".py", code, last)


def test_what_we_refuse_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tasks in ("none:family", "none.py:family", "my_families.py:none", "my_families.py:X"):
        message = fails_with(capsys, 2, "train", "--tasks", tasks, "--out", "x.st")
        assert len(message.splitlines()) == 1
        assert message.startswith("nfn-optim: error: ")


def test_a_full_disk_is_one_line_that_says_where_to_look() -> None:
    text, status = explain(OSError(errno.ENOSPC, "No space left on device"))
    assert status == 2
    assert len(text.splitlines()) == 1
    assert "--out, --json and NFN_CACHE" in text


def test_a_mistake_of_ours_is_shown_whole_and_notes_come_last() -> None:
    def ours() -> None:
        raise KeyError("lost")

    ours.__code__ = ours.__code__.replace(co_filename=add_note.__code__.co_filename)
    try:
        eval(compile("ours()", add_note.__code__.co_filename, "eval"), {"ours": ours})
    except KeyError as error:
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
        add_note(error, "Outer step 3 is saved.")
        text, status = explain(error)
    assert status == 1
    assert "_notes.py" in text
    assert text.splitlines()[-2:] == [
        "nfn-optim: error: KeyError: 'lost'",
        "Outer step 3 is saved.",
    ]


def test_the_bare_command_prints_help_and_the_version_exists(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(())
    assert "evaluate" in capsys.readouterr().out
    main(("--version",))
    assert capsys.readouterr().out == f"nfn-optim {__version__}\n"


def test_positional_arguments_have_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert "SUITE" in fails_with(capsys, 2, "suite")
    assert "MODULE:FUNCTION" in fails_with(capsys, 2, "race")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_a_run_with_a_checkpoint_and_a_closing_line(
    folder: Path, number: signal.Signals, status: int
) -> None:
    """A process of its own, as a batch system and a terminal see it."""
    options = ("--runs", "1", "--min-horizon", "2", "--max-horizon", "2", "--entries", "9")
    options += ("--validation.every", "0")
    command = [sys.executable, "-m", "meta_train", "train", "--tasks", "my_families.py:family"]
    given = [
        "--out",
        "run.st",
        "--outer-steps",
        "100000",
        "--hidden",
        "2",
        "--validation.every",
        "0",
        *options,
    ]
    with subprocess.Popen(
        [*command, *given],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:
        while not Path("run.jsonl").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        _, message = process.communicate(timeout=120)
    assert process.returncode == status, message
    assert "Traceback" not in message
    assert "nfn-optim: interrupted\nOuter step " in message
    assert "of 100000 is saved in run.st. Go on with:\n  nfn-optim train --resume " in message
    assert sorted(p.name for p in folder.glob("run*")) == ["run.jsonl", "run.st", "run.st.resume"]
