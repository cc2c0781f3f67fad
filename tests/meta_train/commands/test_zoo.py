"""`nfn-optim zoo predict`: what it prints and writes, and what it says of bad input."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from meta_train.commands._main import main
from meta_train.zoo import Zoo, save_zoo
from nfn_optim import WeightSpaceFeatures


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


def test_saved_readers_are_applied_to_other_networks(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    file, numbers = folder / "out" / "readers.safetensors", folder / "out" / "numbers.json"
    main(options(folder, "--save", str(file)))
    assert "zoo apply FOLDER --readers" in " ".join(capsys.readouterr().out.split())
    others = tmp_path_factory.mktemp("others")
    for index in range(12):
        torch.save(nn.Linear(3, 2 + index).state_dict(), others / f"other{index}.pt")
    (others / "odd.pt").write_bytes(b"damaged")
    apply = ("zoo", "apply", str(others), "--readers", str(file), "--json", str(numbers))
    with pytest.raises(SystemExit):
        main(apply)
    assert "'odd' is damaged" in capsys.readouterr().err
    assert not numbers.exists()
    main((*apply, "--skip-bad", "--plain"))
    printed, told = capsys.readouterr()
    assert told.startswith("predicting: 0 of 12, ")
    assert f"files: {numbers}" in told
    assert "other0" in printed
    assert "and 2 more; --json has all" in printed
    assert "Skipped 1:" in printed
    content = json.loads(numbers.read_text())
    assert content["target"] == "return"
    assert len(content["networks"]) == 12
    assert all(isinstance(each["predicted"], float) for each in content["networks"])
    assert set(content["skipped"]) == {"odd"}


def test_a_folder_of_save_zoo_has_its_labels(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = WeightSpaceFeatures.from_modules([nn.Linear(3, 2) for _ in range(20)])
    own, file = folder / "zoo", folder / "readers.safetensors"
    labels = {"return": torch.rand(20), "kind": torch.arange(20) % 2}
    save_zoo(Zoo(features, labels, {"kind": ("odd", "even")}), own)
    given = ("zoo", "predict", str(own), "--seeds", "1", "--target")
    main((*given, "kind", "--save", str(file)))
    assert "classification of kind" in " ".join(capsys.readouterr().out.split())
    main(("zoo", "apply", str(own), "--readers", str(file)))
    assert "chance" in capsys.readouterr().out
    for more, reason in (
        (("loss",), "no label 'loss'. Choose one of"),
        (("return", "--labels", str(folder / "labels.csv")), "has labels. Omit --labels"),
    ):
        with pytest.raises(SystemExit):
            main((*given, *more))
        assert reason in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("predict", "x", "--labels", "y.csv"), "zoo predict needs --target"),
        (("apply", "x"), "zoo apply needs --readers"),
        (("apply", "x", "--readers", "y", "--target", "z"), "zoo apply takes no --target"),
        (("predict", "x", "--readers", "y", "--target", "z"), "zoo predict takes no --readers"),
        (("apply", "x", "--readers", "gone"), "there are no readers gone"),
    ],
)
def test_each_action_has_its_own_options(
    arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(("zoo", *arguments))
    assert exit_.value.code == 2
    assert reason in capsys.readouterr().err


def test_nothing_is_written_where_networks_are_bad(folder: Path) -> None:
    (folder / "net3.pt").write_bytes(b"damaged")
    out = folder / "out"
    files = ("--save", str(out / "a"), "--plot", str(out / "b"), "--json", str(out / "c"))
    with pytest.raises(SystemExit):
        main(options(folder, *files))
    assert not list(out.iterdir())


def test_labels_may_be_a_parquet_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = folder / "labels.parquet"
    names, values = [f"net{i}.pt" for i in range(20)], [i / 7 for i in range(20)]
    parquet.write_table(pyarrow.table({"file": names, "return": values}), path)
    main(options(folder, "--labels", str(path)))
    assert "regression of return" in " ".join(capsys.readouterr().out.split())
