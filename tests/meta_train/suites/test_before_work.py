"""Mistakes show before a suite makes data or trains."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from meta_train import run_suite
from meta_train.commands._main import main
from meta_train.suites import SUITES
from meta_train.suites.data import _inrs
from meta_train.suites.harness import _supervised
from nfn_optim.networks import StatNN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "inr"}, "no suite 'inr'.*inr-classification, inr-editing"),
        ({"methods": ["np", "nope"]}, "no method 'nope'.*mlp, mlp-aug, np, hnp, nft"),
        ({"methods": "nope"}, "no method 'nope'"),
        ({"methods": []}, "no method of inr-classification is asked for.*mlp, mlp-aug, np"),
        ({"data": Path("/nonexistent")}, "folder /nonexistent does not exist.*digits, mnist"),
        ({"data": Path(__file__)}, "test_before_work.py is a file"),
        ({"data": [1]}, "got a list"),
        ({"data": "imagenet"}, "no data set 'imagenet'.*digits, mnist"),
        ({"size": "huge"}, "no size 'huge'.*tiny, small, paper"),
        ({"size": 3}, "ClassificationSize or LearnedStartSize; got int"),
        ({"num_seeds": 0}, "at least one seed; got 0"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"device": "meta"}, "device 'meta' cannot be used"),
        ({"build": lambda spec: StatNN(spec)}, r"\(2, 1\).*needs.*\(2, 10\)"),
        ({"build": lambda spec: 1 / 0}, "division by zero"),
        ({"build": nn.Linear(3, 2)}, "a function that makes a network .*; got a Linear"),
        ({"build": "np"}, "a function that makes a network .*; got a str"),
    ],
)
def test_mistakes_show_before_any_work(
    arguments: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_supervised, "fit", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(_inrs, "fit_sirens", lambda *_, **__: pytest.fail("fit"))
    with pytest.raises((ValueError, OSError, ZeroDivisionError), match=message):
        run_suite(**{"name": "inr-classification", "size": "tiny", **arguments})  # type: ignore[arg-type]


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a suite's data is an error."""
    for name, suite in list(SUITES.items()):
        made = replace(suite, prepare=lambda *_: pytest.fail("made data"))
        monkeypatch.setitem(SUITES, name, made)


@pytest.mark.parametrize("option", ["--json", "--out"])
@pytest.mark.parametrize("problem", ["a folder", "in a file", "in nothing"])
@pytest.mark.usefixtures("no_data")
def test_files_that_cannot_be_written_show_before_any_work(
    option: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "inr-editing-digits-tiny.png"
    (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("kept")
    folder = {"a folder": tmp_path, "in a file": tmp_path / "file", "in nothing": Path("/proc/no")}
    path = folder[problem] if option == "--out" else folder[problem] / name
    arguments = ("suite", "inr-editing", "--size", "tiny", "--out", str(tmp_path / "out"))
    with pytest.raises(SystemExit) as exit_:
        main((*arguments, option, str(path)))
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert str(folder[problem]) in " ".join(said.split())
    assert "Give" in said
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.usefixtures("no_data")
def test_a_file_that_is_read_only_shows_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = tmp_path / "numbers.json"
    numbers.write_text("kept")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # nothing is read-only for root
    with pytest.raises(SystemExit):
        main(("suite", "inr-editing", "--size", "tiny", "--json", str(numbers)))
    assert "numbers.json must not be written" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("no_data")
def test_names_of_methods_are_checked_before_a_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = SUITES["cnn-generalization"]
    reading = replace(suite, interface=lambda *_: pytest.fail("read the folder"))
    monkeypatch.setitem(SUITES, suite.name, reading)
    with pytest.raises(ValueError, match="no method 'nope'.*statnn.*hnp-probes"):
        run_suite(suite.name, methods=["nope"], data=tmp_path, size="tiny")
