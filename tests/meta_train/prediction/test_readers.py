"""Readers on disk: they say the same again, of any network, and bad files are told."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from meta_train.prediction import Prediction, ReaderConfig, Readers, predict
from meta_train.zoo import Collection, Networks, from_modules
from nfn_optim import NetworkSpec

SMALL = ReaderConfig(channels=4, layers=1, hidden=8, dropout=0.0)


def mlp(*widths: int) -> nn.Sequential:
    layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


@pytest.fixture(scope="module")
def zoo() -> Collection:
    torch.manual_seed(0)
    modules = [mlp(*((3, 4, 2), (3, 6, 2))[i % 2]) for i in range(30)]
    with torch.no_grad():
        for place, module in enumerate(modules):
            for param in module.parameters():
                param.mul_(1 + place / 10)
    scales = [1 + place / 10 for place in range(30)]
    kinds = ["large" if scale > 2.5 else "small" for scale in scales]
    return from_modules(modules, {"scale": scales, "kind": kinds})


@pytest.fixture(scope="module", params=["scale", "kind"])
def result(request: pytest.FixtureRequest, zoo: Collection) -> Prediction:
    return predict(request.param, zoo, reader=SMALL, num_steps=60, seeds=2)


def test_what_is_loaded_says_the_same(result: Prediction, zoo: Collection, tmp_path: Path) -> None:
    path = tmp_path / "new" / "readers.safetensors"
    result.readers.save(path)
    again = Readers.load(path)
    assert (again.target, again.classes, again.config) == (result.target, result.classes, SMALL)
    assert again.read(zoo)[1] == result.readers.read(zoo)[1]


def test_one_reader_says_what_it_said_in_its_test(zoo: Collection) -> None:
    for target in ("scale", "kind"):
        result = predict(target, zoo, reader=SMALL, num_steps=20, seeds=1)
        said = {reading.network: reading for reading in result.readers.read(zoo)[1]}
        for answer in result.answers:
            reading = said[answer.network]
            assert reading.spread == 0
            if answer.confidence is None:
                assert reading.predicted == pytest.approx(answer.predicted, rel=1e-5)
            else:
                assert reading.predicted == answer.predicted
                assert reading.confidence == pytest.approx(answer.confidence, rel=1e-5)


def test_readers_are_averaged_and_their_spread_is_told(result: Prediction, zoo: Collection) -> None:
    readers = result.readers
    parts = [
        Readers(readers.target, readers.classes, readers.config, (module,), (unit,))
        for module, unit in zip(readers.modules, readers.units, strict=True)
    ]
    both = readers.read(zoo)[1]
    for row, (first, second) in enumerate(zip(*(part.read(zoo)[1] for part in parts), strict=True)):
        if readers.classes:
            assert both[row].confidence >= 0.5
            continue
        assert both[row].predicted == pytest.approx((first.predicted + second.predicted) / 2)
        assert both[row].spread == pytest.approx(abs(first.predicted - second.predicted) / 2)


def test_networks_of_other_depths_and_widths_are_read(result: Prediction) -> None:
    others = from_modules([mlp(5, 7, 6, 3), nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh())])
    assert len(result.readers.read(others)[1]) == 2


def test_what_is_read_is_told(result: Prediction, zoo: Collection) -> None:
    told: list[str] = []
    result.readers.read(zoo, on_progress=lambda work: told.append(str(work)))
    assert told[-2].startswith("predicting: 0 of 30, ")
    assert told[-1].startswith("predicting: 30 of 30, ")


def three_populations(zoo: Collection) -> Collection:
    """With one network that has a core of three populations."""
    spec = NetworkSpec({"core": ("a", "b", "c")}, {"core": (2, 3, 4)})
    specs, params = [spec], [{"core": torch.ones(2, 3, 4)}]
    for features in zoo.networks.parts:
        specs.append(features.spec)
        params.append(features.to_state_dicts()[0])
    names = ("core", *map(str, range(len(specs) - 1)))
    return Collection(names, Networks.group(specs, params), {"x": tuple(map(float, range(3)))})


def test_networks_that_cannot_be_read_are_named_or_skipped(
    result: Prediction, zoo: Collection
) -> None:
    odd = three_populations(zoo)
    with pytest.raises(ValueError, match="1 cannot .*'core' cannot be read: .*3 populations"):
        result.readers.read(odd)
    with pytest.raises(ValueError, match="'core' cannot be read"):
        predict("x", odd)
    kept, readings = result.readers.read(odd, skip_bad=True)
    assert [reading.network for reading in readings] == ["0", "1"]
    assert list(kept.skipped) == ["core"]


@pytest.mark.parametrize("kept", [0, 20, -10])
def test_a_damaged_file_is_told(result: Prediction, kept: int, tmp_path: Path) -> None:
    path = tmp_path / "readers.safetensors"
    result.readers.save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="truncated or no safetensors file"):
        Readers.load(path)


def test_other_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no readers .*zoo predict --save"):
        Readers.load(tmp_path / "gone")
    path, tensors = tmp_path / "x.safetensors", {"x": torch.ones(1)}
    save_file(tensors, path)
    with pytest.raises(ValueError, match="not one written by zoo predict --save"):
        Readers.load(path)
    save_file(tensors, path, {"format": "meta_train.readers", "version": "0"})
    with pytest.raises(ValueError, match="has version '0' of meta_train.readers"):
        Readers.load(path)
    save_file(tensors, path, {"format": "meta_train.readers", "version": "1", "readers": "{}"})
    with pytest.raises(ValueError, match="configuration and weights of readers"):
        Readers.load(path)


def test_a_failed_save_keeps_the_file_of_before(
    result: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "readers.safetensors"
    result.readers.save(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("nfn_optim.files.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        result.readers.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
