"""`nfn-optim zoo predict`: what it prints and writes, and what it says of bad input."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from meta_train.commands._main import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty networks of two widths, and their labels."""
    torch.manual_seed(0)
    lines = ["file,return,env"]
    for index in range(20):
        net = nn.Sequential(nn.Linear(3, 4 + index % 2), nn.ReLU(), nn.Linear(4 + index % 2, 2))
        torch.save(net.state_dict(), tmp_path / f"net{index}.pt")
        lines.append(f"net{index}.pt,{index / 7:.3f},env{index // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def options(folder: Path, *more: str) -> tuple[str, ...]:
    labels = str(folder / "labels.csv")
    given = ("zoo", "predict", str(folder), "--labels", labels, "--target", "return")
    return (*given, "--seeds", "1", *more)


def test_scores_are_printed_and_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, picture = folder / "out" / "numbers.json", folder / "out" / "picture.png"
    written = ("--json", str(numbers), "--plot", str(picture))
    main(options(folder, "--group", "env", *written))
    printed = capsys.readouterr().out
    assert all(score in printed for score in ("R2", "Kendall tau", "MAE of the mean"))
    assert "2 architectures" in " ".join(printed.split())
    assert picture.read_bytes().startswith(b"\x89PNG")
    content = json.loads(numbers.read_text())
    assert content["networks"] == [12, 4, 4]
    assert set(content["summary"]) == {"R2", "Kendall tau", "MAE", "MAE of the mean"}


def test_bad_networks_are_one_error_or_skipped(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "net3.pt").write_bytes(b"damaged")
    torch.save({"0.weight": torch.full((4, 3), torch.nan)}, folder / "net4.pt")
    numbers = folder / "numbers.json"
    with pytest.raises(SystemExit) as exit_:
        main(options(folder, "--json", str(numbers)))
    assert exit_.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("nfn-optim: error: 2 cannot be used, where there are 20 networks: ")
    assert "'net3'" in message
    assert "'net4' has 12 numbers in '0.weight' that are NaN" in message
    assert not numbers.exists()
    main(options(folder, "--json", str(numbers), "--skip-bad"))
    assert "Skipped 2:" in capsys.readouterr().out
    assert set(json.loads(numbers.read_text())["skipped"]) == {"net3", "net4"}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--target", "loss"), "there is no label 'loss'. Choose one of file, return, env."),
        (("--labels", "none.csv"), "there is no table of labels none.csv"),
        (("--threads", "0"), "--threads must be at least 1"),
    ],
)
def test_mistakes_are_told(
    folder: Path, more: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(options(folder, *more))
    assert exit_.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_missing_column_is_told_before_files_are_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "net3.pt").write_bytes(b"damaged")
    with pytest.raises(SystemExit):
        main(options(folder, "--group", "run"))
    assert "there is no label 'run'" in capsys.readouterr().err
