"""The command line: what it writes, and what it says to a user's mistake."""

import json
from pathlib import Path

import pytest

from command_line import fails
from meta_train.commands._main import main
from nfn_optim import NFNRule, save_rule
from nfn_optim.native import Library, population, step


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    path = tmp_path / "rule.safetensors"
    save_rule(NFNRule(), path, {"family": "none"})
    return str(path)


def test_evaluate_writes_a_page_with_pictures_and_numbers(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers, out = tmp_path / "numbers.json", tmp_path / "out"
    options = ("--out", str(out), "--json", str(numbers), "--seeds", "1", "--processes", "1")
    given = ("evaluate", "--checkpoint", checkpoint, "--tasks", "diabetes-10-32-32-1")
    main((*given, *options, "--peers", "sgd", "adamw@0.001"))
    printed = capsys.readouterr().out
    assert "diabetes-10-32-32-1: 500 steps" in printed
    assert "| diabetes-10-32-32-1 |" not in printed  # Markdown is for the page
    page = (out / "page.md").read_text()
    assert "## Against tuned peers" in page
    assert "(page-curves.png)" in page
    assert (out / "page-curves.png").exists()
    content = json.loads(numbers.read_text())
    assert content["seeds"] == [0]
    names = ["rule", "untrained", "shipped", "sgd", "adamw@0.001"]
    assert [row["contender"] for row in content["rows"]] == names


def test_race_trains_the_users_model(
    checkpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "my_race.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def loss(model, batch): return model(batch).square().mean()\n"
        "def problem(): return nn.Linear(3, 2), [torch.ones(4, 3)], loss\n"
        "def endless(): return nn.Linear(3, 2), iter([torch.ones(4, 3)]), loss\n"
        "def nan(): return nn.Linear(3, 2), [torch.full((4, 3), float('nan'))], loss\n"
    )
    monkeypatch.chdir(tmp_path)
    given = ("race", "my_race:problem", "--checkpoint", checkpoint, "--processes", "1")
    main((*given, "--steps", "20", "--peers", "sgd@0.1", "--json", "race.json"))
    assert "my_race:problem: 20 steps" in capsys.readouterr().out
    assert Path("out/race/page-curves.png").exists()
    rows = json.loads(Path("race.json").read_text())["rows"]
    assert [row["contender"] for row in rows] == ["rule", "untrained", "shipped", "sgd@0.1"]
    wrong = ("--peers", "sgd@0.1", "--processes", "1", "--checkpoint", checkpoint)
    assert "the loss is nan before the first" in fails(capsys, "race", "my_race:nan", *wrong)
    assert "batches ran out" in fails(capsys, "race", "my_race:endless", *wrong)
    assert "cannot be loaded" in fails(capsys, "race", "my_race:none", *wrong)
    assert "--steps must be" in fails(capsys, "race", "my_race:problem", "--steps", "0")


def test_an_interrupted_comparison_says_how_to_go_on(
    checkpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("meta_train.evaluation._evaluate.Session.run", interrupted)
    given = ("evaluate", "--checkpoint", checkpoint, "--tasks", "sines-8-32-1", "--processes", "1")
    with pytest.raises(SystemExit) as exit_:
        main((*given, "--peers", "sgd", "--out", str(tmp_path)))
    assert exit_.value.code == 130
    said = capsys.readouterr().err
    assert f"Finished runs are kept in {tmp_path / 'cache'}. Go on with:" in said
    assert said.splitlines()[-1].startswith("  nfn-optim evaluate --checkpoint ")


def test_info_prints_the_card(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(("info", "--checkpoint", checkpoint, "--json", str(tmp_path / "info.json")))
    content = json.loads((tmp_path / "info.json").read_text())
    assert content["card"] == {"family": "none"}
    assert '"family": "none"' in capsys.readouterr().out


def test_info_says_what_native_code_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.cpp"
    broken.write_text("int nonsense = ;\n")
    monkeypatch.setattr(step, "LIBRARY", Library(step.LIBRARY.source, step.LIBRARY.definitions))
    monkeypatch.setattr(population, "LIBRARY", Library(broken))
    main(("info", "--json", str(tmp_path / "info.json")))
    states = json.loads((tmp_path / "info.json").read_text())["native code"]
    assert states["step"] in ("compiled", "no compiler", "turned off by NFN_NATIVE=0")
    if states["step"] == "compiled":
        assert "failed: " in states["population"]
        assert "broken.cpp:1:" in states["population"]
    monkeypatch.setenv("NFN_NATIVE", "0")
    monkeypatch.setattr(step, "LIBRARY", Library(step.LIBRARY.source))
    main(("info",))
    assert '"step": "turned off by NFN_NATIVE=0"' in capsys.readouterr().out


def test_train_writes_a_checkpoint_that_info_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "mine.safetensors")
    options = ("--outer-steps", "2", "--runs", "1", "--truncation", "2", "--entries", "2000")
    options += ("--no-table",)
    main(("train", "--out", out, *options, "--json", str(tmp_path / "card.json")))
    assert json.loads((tmp_path / "card.json").read_text())["outer_steps"] == 2
    main(("info", "--checkpoint", out))
    assert '"outer_steps": 2' in capsys.readouterr().out


def test_mistakes_end_with_one_line(
    tmp_path: Path, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torn.safetensors").write_bytes(Path(checkpoint).read_bytes()[:100])
    given = ("evaluate", "--checkpoint", checkpoint, "--out", str(tmp_path))
    assert "no checkpoint" in fails(capsys, "info", "--checkpoint", str(tmp_path / "none"))
    assert "truncated" in fails(capsys, "info", "--checkpoint", str(tmp_path / "torn.safetensors"))
    assert "evaluation tasks 'nope'" in fails(capsys, *given, "--tasks", "nope")
    assert "contender 'nope'" in fails(capsys, *given, "--peers", "nope")
    assert "is no positive number: 'x'" in fails(capsys, *given, "--peers", "sgd@x")
    assert "one seed" in fails(capsys, *given, "--tasks", "digits-64-32-10", "--seeds", "0")
    assert "--steps must be" in fails(capsys, "demo", "--steps", "0", "--checkpoint", checkpoint)
    assert "no checkpoint" in fails(capsys, "demo", "--checkpoint", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("command", "work"),
    [
        ("demo", "meta_train.evaluation.evaluate"),
        ("evaluate", "meta_train.evaluation.evaluate"),
        ("train", "meta_train.training.run_meta_training"),
    ],
)
def test_files_that_cannot_be_written_show_before_the_work(
    command: str,
    work: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(work, lambda *_, **__: pytest.fail("worked"))
    (tmp_path / "file").touch()
    given = (command, "--out", str(tmp_path / "out" / "a"))
    given += () if command == "train" else ("--checkpoint", checkpoint)
    assert "is a folder" in fails(capsys, *given, "--json", str(tmp_path))
    assert "is no folder" in fails(capsys, *given, "--json", str(tmp_path / "file" / "x.json"))


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(("nonsense",))
    assert exit_.value.code == 2
    assert "nonsense" in capsys.readouterr().err
