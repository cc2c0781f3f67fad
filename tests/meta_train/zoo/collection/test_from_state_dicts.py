"""Networks from files: which are read, what their labels are, and what is said of bad ones."""

import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from meta_train.zoo import Collection, from_modules, from_state_dicts
from nfn_optim import NetworkSpec


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def write(folder: Path, networks: Mapping[str, Mapping[str, Tensor]]) -> None:
    for name, params in networks.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            save_file(dict(params), path)
        else:
            torch.save(dict(params), path)


def table(folder: Path, *lines: str) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three networks of two widths, and their table."""
    nets = {"a.pt": mlp(4, 5, 2), "b.safetensors": mlp(4, 6, 2), "deep/c.pt": mlp(4, 5, 2)}
    write(tmp_path, {name: net.state_dict() for name, net in nets.items()})
    table(tmp_path, "file,score,env", "deep/c.pt,0.3,x", "a,0.1,y", "./b.safetensors,0.2,x")
    return tmp_path


def params_of(collection: Collection, name: str) -> dict[str, Tensor]:
    one = collection.networks.take(torch.tensor([collection.names.index(name)]))
    return {n: t[0] for n, t in one.parts[0].to_params().items()}


def test_networks_of_two_widths_come_with_their_own_rows(folder: Path) -> None:
    zoo = from_state_dicts(folder, labels=folder / "labels.csv")
    assert zoo.names == ("a", "b", "deep/c")
    assert zoo.labels["score"] == (0.1, 0.2, 0.3)
    assert zoo.labels["env"] == ("y", "x", "x")
    assert len(zoo.networks.parts) == 2
    written = torch.load(folder / "deep/c.pt")
    read = params_of(zoo, "deep/c")
    assert all(torch.equal(read[name], written[name]) for name in written)


def test_both_formats_give_one_architecture(tmp_path: Path) -> None:
    layers = {"fc1": nn.Linear(9, 4), "fc2": nn.Linear(4, 4), "out": nn.Linear(4, 2)}
    net = nn.Sequential(OrderedDict(layers))
    write(tmp_path, {"a.pt": net.state_dict(), "b.safetensors": net.state_dict()})
    zoo = from_state_dicts(tmp_path)
    assert len(zoo.networks.parts) == 1
    assert zoo.networks.parts[0].spec.shapes == NetworkSpec.from_module(net).shapes


def test_layers_come_by_number(tmp_path: Path) -> None:
    net = mlp(3, *[4] * 6, 4)
    assert "10.weight" in net.state_dict()
    write(tmp_path, {"a.safetensors": net.state_dict()})
    assert from_state_dicts(tmp_path).networks.parts[0].spec.names == tuple(net.state_dict())


def test_an_order_that_names_do_not_tell_is_not_guessed(tmp_path: Path) -> None:
    params = {f"{name}.weight": torch.ones(4, 4) for name in ("one", "three", "two")}
    write(tmp_path, {"a.safetensors": params})
    with pytest.raises(ValueError, match="'a' is no certain chain.*give a module"):
        from_state_dicts(tmp_path)


def test_repositories_are_read_and_built_from_their_configs(tmp_path: Path) -> None:
    for name, width in (("small", 5), ("wide", 9)):
        write(tmp_path, {f"{name}/model.safetensors": mlp(4, width, 2).state_dict()})
        write(tmp_path, {f"{name}/optimizer.pt": {"step": torch.ones(())}})
        (tmp_path / name / "config.json").write_text(json.dumps({"width": width}))
    labels = {"network": ["wide", "small/model.safetensors"], "loss": [1, 2]}
    zoo = from_state_dicts(tmp_path, lambda config: mlp(4, config["width"], 2), labels)
    assert zoo.names == ("small", "wide")
    assert zoo.labels["loss"] == (2, 1)
    assert [part["0.weight"].shape[1] for part in zoo.networks.parts] == [5, 9]


@pytest.mark.parametrize(
    "prefix", ["module.", "module._orig_mod.", "_orig_mod.module.", "_forward_module."]
)
def test_what_is_wrapped_around_a_state_dict_does_not_count(tmp_path: Path, prefix: str) -> None:
    net = mlp(3, 4, 2)
    params = {f"{prefix}{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"epoch": 3, "model": params}, tmp_path / "a.pt")
    read = params_of(from_state_dicts(tmp_path, net), "a")
    assert torch.equal(read["0.weight"], net[0].weight)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"a": 0.1, "b": 0.2}, r"0.1 under 'a', which is no column .* {'file': \['a.pt'"),
        ({"a": torch.tensor(0.1)}, r"tensor\(0.1000\) under 'a', which is no column"),
        ({"a": "high"}, "'high' under 'a', which is no column"),
        ([0.1, 0.2], "labels are a list. Give the path of a table, or columns by name"),
    ],
)
def test_labels_of_another_form_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_state_dicts([mlp(3, 4, 2).state_dict()] * 2, labels=labels)


def test_labels_may_be_any_series_of_values() -> None:
    known = {"a": 0.1, "b": 0.2}
    labels: Any = {"file": known.keys(), "accuracy": known.values()}
    networks = {name: mlp(3, 4, 2).state_dict() for name in known}
    assert from_state_dicts(networks, labels=labels).labels["accuracy"] == (0.1, 0.2)


def test_layers_of_one_network_are_not_taken_for_networks() -> None:
    with pytest.raises(ValueError, match="modules are one Sequential. Give a list"):
        from_modules(mlp(3, 4, 2))


GOOD = mlp(4, 5, 2).state_dict()
BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "keys": (lambda p: {"net." + n: t for n, t in p.items()}, "has no '0.weight'.*expected.*'net."),
    "more": (lambda p: p | {"extra": torch.ones(2)}, "has 'extra' too; expected '0.weight'"),
    "shape": (lambda p: p | {"0.bias": torch.ones(6)}, r"has \(6,\) for '0.bias'.*\(5,\)"),
    "dtype": (lambda p: {n: t.half() for n, t in p.items()}, "float16; most have torch.float32"),
    "int": (lambda p: p | {"0.bias": torch.ones(5).long()}, "int64 numbers in '0.bias'"),
    "nan": (lambda p: p | {"2.bias": torch.tensor([1.0, torch.nan])}, "1 numbers in '2.bias'"),
    "no dict": (lambda p: list(p.values()), "holds a list, and no state dict"),
    "no tensors": (lambda p: {"0.weight": 3}, "'?0.weight'?, which are no tensors"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_network_is_named_and_skipped_if_asked(tmp_path: Path, case: str) -> None:
    spoil, reason = BAD[case]
    write(tmp_path, {"a.pt": GOOD, "b.pt": GOOD})
    torch.save(spoil(dict(GOOD)), tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=f"1 cannot be used.*'odd' .*{reason}.*skip_bad"):
        from_state_dicts(tmp_path, mlp(4, 5, 2))
    zoo = from_state_dicts(tmp_path, mlp(4, 5, 2), skip_bad=True)
    assert zoo.names == ("a", "b")
    assert list(zoo.skipped) == ["odd"]


@pytest.mark.parametrize("name", ["odd.pt", "odd.safetensors"])
@pytest.mark.parametrize("kept", [0, 30, 200])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, kept: int) -> None:
    write(tmp_path, {"a.pt": GOOD, name: GOOD})
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:kept])
    with pytest.raises(ValueError, match="'odd' (cannot be read|is damaged)"):
        from_state_dicts(tmp_path)
    assert from_state_dicts(tmp_path, skip_bad=True).names == ("a",)


def test_a_pickled_model_is_not_run(tmp_path: Path) -> None:
    torch.save(mlp(3, 4, 2), tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=r"'odd' .*save model.state_dict\(\)"):
        from_state_dicts(tmp_path)


def test_rows_and_networks_must_match_before_files_are_read(folder: Path) -> None:
    (folder / "a.pt").write_bytes(b"damaged")
    labels = table(folder, "file,score", "a,1", "b,2", "gone,3")
    match = "2 cannot be used.*'deep/c' has no row.*'gone' has a row in the labels, but no weights"
    with pytest.raises(ValueError, match=match):
        from_state_dicts(folder, labels=labels)
    zoo = from_state_dicts(folder, labels=labels, skip_bad=True)
    assert zoo.names == ("b",)
    assert set(zoo.skipped) == {"a", "deep/c", "gone"}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("file,score", "a,1", "a.pt,2"), "two rows for network 'a'"),
        (("file,score", "a"), "1 values in row 2, but 2 columns"),
        (("file,file", "a,1"), "column name twice"),
        (("file,score",), "no rows"),
        ((), "no rows|no CSV"),
    ],
)
def test_a_bad_table_is_told(folder: Path, lines: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_state_dicts(folder, labels=table(folder, *lines))


def test_columns_have_types_and_gaps(folder: Path) -> None:
    lines = ("file,n,x,s", "a,1,1,1", "b,,2.5,two", "deep/c,3,nan,3")
    labels = from_state_dicts(folder, labels=table(folder, *lines)).labels
    assert labels["n"] == (1, None, 3)
    assert labels["x"] == (1.0, 2.5, None)
    assert labels["s"] == ("1", "two", "3")


def test_modules_of_other_depths_come_with_labels_in_order() -> None:
    modules = [mlp(3, 4, 2), mlp(3, 4, 4, 2), mlp(3, 4, 2)]
    zoo = from_modules(modules, {"y": [1, 2, 3]})
    assert [features.batch_shape[0] for features in zoo.networks.parts] == [2, 1]
    turned = zoo.networks.take(torch.tensor([2, 1, 0]))
    sums = turned.read(lambda features: features["0.bias"].sum((-1, -2)))
    wanted = torch.stack([module[0].bias.sum() for module in modules[::-1]])
    assert torch.allclose(sums, wanted)
    with pytest.raises(ValueError, match="3 networks and 2 rows"):
        from_modules(modules, {"y": [1, 2]})


def test_a_part_of_a_network_is_not_taken_for_one(tmp_path: Path) -> None:
    write(tmp_path, {"model-00001-of-00002.safetensors": GOOD})
    with pytest.raises(ValueError, match="is one of several files of a network"):
        from_state_dicts(tmp_path)


def test_a_network_of_no_architecture_given_names_what_the_first_expects(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a.pt": GOOD, "b.pt": mlp(4, 6, 2).state_dict(), "c.pt": mlp(4, 7, 2).state_dict()},
    )
    kinds = [mlp(4, 5, 2), mlp(4, 6, 2)]
    with pytest.raises(ValueError, match=r"1 cannot.*'c' fits none of 2 architectures.*\(7, 4\)"):
        from_state_dicts(tmp_path, kinds)
    assert from_state_dicts(tmp_path, kinds, skip_bad=True).names == ("a", "b")


@pytest.mark.parametrize("like", [3, [], ["net"]])
def test_what_networks_are_not_like_is_refused(folder: Path, like: Any) -> None:
    with pytest.raises(ValueError, match="give a NetworkSpec, a module, a list"):
        from_state_dicts(folder, like)


def test_a_folder_without_networks_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no network"):
        from_state_dicts(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        from_state_dicts(tmp_path / "gone")


def test_bad_ones_among_thousands_are_counted_and_the_first_named() -> None:
    networks = {f"net{place}": dict(GOOD) for place in range(3_000)}
    for place in range(7, 3_000, 300):
        networks[f"net{place}"]["0.bias"] = torch.full((5,), torch.inf)
    labels = {"network": list(networks), "y": list(range(3_000))}
    spec = NetworkSpec.from_module(mlp(4, 5, 2))
    with pytest.raises(ValueError, match="10 cannot be used, where there are 3000") as error:
        from_state_dicts(networks, spec, labels)
    assert str(error.value).count("NaN or infinite") == 5
    assert "'net7' has 5 numbers in '0.bias'" in str(error.value)
    assert "and 5 more" in str(error.value)
    zoo = from_state_dicts(networks, spec, labels, skip_bad=True)
    assert (len(zoo), len(zoo.skipped)) == (2_990, 10)
    assert zoo.labels["y"][7] == 8


def test_rows_of_thousands_are_matched_by_name() -> None:
    networks = {f"net{place}": dict(GOOD) for place in range(3_000)}
    labels = {"file": [f"net{place}.pt" for place in range(1, 3_001)], "y": [0.0] * 3_000}
    match = "2 cannot be used.*'net0' has no row.*'net3000' has a row in the labels, but no weights"
    with pytest.raises(ValueError, match=match):
        from_state_dicts(networks, NetworkSpec.from_module(mlp(4, 5, 2)), labels)


def test_modules_with_weights_that_are_not_numbers_are_named() -> None:
    modules = {"good": mlp(3, 4, 2), "odd": mlp(3, 4, 2)}
    torch.nn.init.constant_(modules["odd"][0].weight, torch.nan)
    with pytest.raises(ValueError, match="1 cannot be used.*'odd' has 12 numbers in '0.weight'"):
        from_modules(modules)
    assert from_modules(modules, skip_bad=True).names == ("good",)


def test_a_label_that_is_no_string_or_number_is_told() -> None:
    with pytest.raises(ValueError, match=r"a label is \[1\], of the type list"):
        from_modules([mlp(3, 4, 2)], {"y": [[1]]})


def test_labels_of_a_parquet_file(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = folder / "labels.parquet"
    columns = {"file": ["deep/c.pt", "a", "b"], "n": [3, None, 2], "x": [0.5, 1.0, None]}
    kinds = {"ok": [True, False, True], "env": ["x", "y", None]}
    parquet.write_table(pyarrow.table(columns | kinds), path)
    labels = from_state_dicts(folder, labels=path).labels
    assert labels["n"] == (None, 2, 3)
    assert labels["x"] == (1.0, None, 0.5)
    assert labels["ok"] == ("False", "True", "True")
    assert labels["env"] == ("y", None, "x")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="labels.parquet cannot be read as Parquet"):
        from_state_dicts(folder, labels=path)


def test_without_pyarrow_the_line_that_installs_it_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (folder / "labels.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"pip install pyarrow\), or give the table as CSV"):
        from_state_dicts(folder, labels=folder / "labels.parquet")


@pytest.mark.parametrize("content", [b"bad", b"R", b"(.", b"\x8a\xff", b"]K\x01s.", b"h\x00."])
def test_bytes_that_are_no_file_of_torch_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.pt").write_bytes(content)
    with pytest.raises(ValueError, match="'odd' (cannot be read|is damaged)"):
        from_state_dicts(tmp_path)
