import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from meta_train.zoo import Zoo, load_zoo, save_zoo
from nfn_optim import NetworkSpec, WeightSpaceFeatures


@pytest.fixture
def zoo() -> Zoo:
    torch.manual_seed(0)
    modules = [
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
        for _ in range(4)
    ]
    return Zoo(
        WeightSpaceFeatures.from_modules(modules),
        {"accuracy": torch.rand(4), "activation": torch.tensor([0, 1, 1, 0])},
        {"activation": ("relu", "tanh")},
        {"seed": 3},
    )


def test_a_zoo_read_back_equals_the_zoo_saved(zoo: Zoo, tmp_path: Path) -> None:
    save_zoo(zoo, tmp_path / "zoo")
    again = load_zoo(tmp_path / "zoo")
    assert again.features.spec == zoo.features.spec
    assert again.categories == zoo.categories
    assert again.info == zoo.info
    for one, other in ((zoo.features, again.features), (zoo.labels, again.labels)):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_manifest_says_what_the_tensors_are(zoo: Zoo, tmp_path: Path) -> None:
    save_zoo(zoo, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["networks"] == len(zoo) == 4
    assert manifest["info"] == {"seed": 3}
    assert manifest["versions"]["torch"] == torch.__version__


def test_parameters_are_stored_as_modules_store_them(zoo: Zoo) -> None:
    spec = zoo.features.spec
    states = zoo.features.to_state_dicts()
    stored = {name: torch.stack([state[name] for state in states]) for name in spec.names}
    again = Zoo.from_params(spec, stored)
    assert all(torch.equal(again.features[name], zoo.features[name]) for name in spec.names)


@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([1, 2])])
def test_some_networks_keep_their_labels(zoo: Zoo, index: slice) -> None:
    part = zoo.take(index)
    assert len(part) == 2
    assert torch.equal(part.labels["accuracy"], zoo.labels["accuracy"][1:3])
    assert torch.equal(part.features["0.weight"], zoo.features["0.weight"][1:3])


def test_networks_are_chosen_by_their_labels(zoo: Zoo) -> None:
    tanh = zoo.take(zoo.labels["activation"] == 1)
    assert torch.equal(tanh.labels["accuracy"], zoo.labels["accuracy"][1:3])


def test_labels_of_another_length_are_refused(zoo: Zoo) -> None:
    with pytest.raises(ValueError, match=r"4 networks .* \(3,\)"):
        Zoo(zoo.features, {"accuracy": torch.rand(3)})


def test_a_folder_without_a_zoo_is_named(zoo: Zoo, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="manifest.json is missing"):
        load_zoo(tmp_path)
    save_zoo(zoo, tmp_path)
    (tmp_path / "zoo.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="zoo.safetensors is missing"):
        load_zoo(tmp_path)


def test_truncated_and_exchanged_tensors_are_noticed(zoo: Zoo, tmp_path: Path) -> None:
    save_zoo(zoo, tmp_path)
    path = tmp_path / "zoo.safetensors"
    content = path.read_bytes()
    for wrong in (content[:-8], content[:-1] + b"!"):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="checksum"):
            load_zoo(tmp_path)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "damaged"),
        ('{"format": "other"}', "not the manifest of a zoo"),
        ("[]", "not the manifest of a zoo"),
        ('{"format": "meta_train.zoo", "version": 99}', "version 99"),
    ],
)
def test_foreign_manifests_are_refused(
    zoo: Zoo, tmp_path: Path, manifest: str, message: str
) -> None:
    save_zoo(zoo, tmp_path)
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ValueError, match=message):
        load_zoo(tmp_path)


@pytest.mark.parametrize("name", ["version", "networks", "sha256", "spec", "categories", "info"])
def test_what_a_manifest_lacks_is_named(zoo: Zoo, tmp_path: Path, name: str) -> None:
    save_zoo(zoo, tmp_path)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    for wrong in ({k: v for k, v in manifest.items() if k != name}, {**manifest, name: None}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=rf"manifest\.json .*{name}"):
            load_zoo(tmp_path)


def test_manifests_of_other_networks_are_refused(zoo: Zoo, tmp_path: Path) -> None:
    save_zoo(zoo, tmp_path)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    spec = manifest["spec"]
    more = {**spec, "axes": {**spec["axes"], "w": []}, "shapes": {**spec["shapes"], "w": []}}
    for wrong, message in (
        ({"networks": 7}, r"manifest\.json says 7 networks, but zoo\.safetensors holds 4"),
        ({"spec": {}}, r"manifest\.json does not describe zoo\.safetensors .*'axes'"),
        ({"spec": more}, "does not describe .* 'weights/w'"),
        ({"spec": {**spec, "shapes": {}}}, "does not describe"),
        ({"spec": {**spec, "axes": 3}}, "does not describe"),
        ({"categories": {"activation": 2}}, "does not describe"),
    ):
        path.write_text(json.dumps({**manifest, **wrong}))
        with pytest.raises(ValueError, match=message):
            load_zoo(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"info": {"path": Path("somewhere")}},
        {"info": {(1, 2): 3}},
        {"categories": {"activation": (torch.zeros(1),)}},
    ],
)
def test_a_zoo_that_cannot_be_described_replaces_nothing(
    zoo: Zoo, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    save_zoo(zoo, tmp_path)
    other = replace(zoo, features=zoo.features.map(lambda tensor: tensor + 1), **wrong)
    with pytest.raises(ValueError, match=r"manifest\.json cannot be written: .* JSON values"):
        save_zoo(other, tmp_path)
    kept = load_zoo(tmp_path)
    assert torch.equal(kept.features["0.weight"], zoo.features["0.weight"])
    with pytest.raises(ValueError, match="cannot be written"):
        save_zoo(other, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_labels_may_share_a_tensor(zoo: Zoo, tmp_path: Path) -> None:
    accuracy = zoo.labels["accuracy"]
    shared = {"accuracy": accuracy, "target": accuracy}
    save_zoo(replace(zoo, labels=shared), tmp_path)
    again = load_zoo(tmp_path).labels
    assert all(torch.equal(again[name], tensor) for name, tensor in shared.items())


def test_pinned_and_fixed_populations_survive(tmp_path: Path) -> None:
    spec = NetworkSpec(
        {"w": ("h", "in"), "v": ("h", None)},
        {"w": (3, 2), "v": (3, 4)},
        io=("in",),
        pinned=("h",),
        orders={"v": (1, 0)},
        stored={"v": (4, 3)},
    ).hnp()
    save_zoo(Zoo.from_params(spec, {"w": torch.rand(5, 3, 2), "v": torch.rand(5, 4, 3)}), tmp_path)
    assert load_zoo(tmp_path).features.spec == spec
