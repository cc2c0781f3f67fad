"""Suites run end to end, from the cache where they can, with networks of one's own."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

from meta_train import run_suite
from meta_train.commands._main import main
from meta_train.suites import SUITES
from meta_train.suites.networks import Equivariant, MaskGenerator
from meta_train.suites.tasks._inr_editing import Editor
from meta_train.tasks import Dataset
from nfn_optim import NetworkSpec
from nfn_optim.networks import EquivariantConfig, EquivariantNFN, HeadConfig, StatNN


def stats(spec: NetworkSpec) -> nn.Module:
    return StatNN(spec, HeadConfig((8,), out_features=10))


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, training is an error; our own code stays, for the cache knows it."""

    def forbid() -> None:
        monkeypatch.setattr(torch.optim, "AdamW", lambda *_, **__: pytest.fail("trained again"))

    return forbid


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.usefixtures("small_suites")
def test_every_suite_runs_all_methods_and_writes_its_table(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "new" / "numbers.json"
    files = ("--json", str(numbers), "--out", str(tmp_path / "pictures"))
    main(("suite", name, "--size", "tiny", "--seeds", "2", *files))
    printed = capsys.readouterr().out
    content = json.loads(numbers.read_text())
    assert (content["suite"], content["size"]) == (name, "tiny")
    assert content["smoke_test"]
    assert "tiny, a smoke test" in " ".join(printed.split())
    assert "Compare no figures" in printed
    assert content["metric_name"] == SUITES[name].metric
    assert tuple(content["methods"]) == SUITES[name].names(SUITES[name].sizes["tiny"])
    for method, result in content["methods"].items():
        assert method in printed
        assert set(result) == {
            "metric",
            "std",
            "seconds",
            "parameters",
            *SUITES[name].more,
            *SUITES[name].beside,
        }
        assert (result["parameters"] > 0) is (method not in SUITES[name].references)
    assert any(result["std"] > 0 for result in content["methods"].values())
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 1


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written in pictures that are saved."""
    found: list[str] = []
    save = Figure.savefig

    def read(figure: Figure, *args: Any, **kwargs: Any) -> None:
        save(figure, *args, **kwargs)
        found.extend(text.get_text() for text in figure.findobj(Text))

    monkeypatch.setattr(Figure, "savefig", read)
    return found


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.usefixtures("small_suites")
def test_a_picture_says_what_each_method_reached(
    name: str, tmp_path: Path, texts: list[str]
) -> None:
    methods = SUITES[name].names(SUITES[name].sizes["tiny"])[:2]
    result = run_suite(name, methods=methods, size="tiny", out=tmp_path)
    for method, reached in result.methods.items():
        assert any(text.startswith(method) for text in texts)
        assert any(f"{reached.metric:.{digits}f}" in text for digits in (3, 4) for text in texts)


@pytest.mark.usefixtures("small_suites")
def test_shapes_in_a_picture_have_their_names(tmp_path: Path, texts: list[str]) -> None:
    run_suite("shape-classification", methods="mlp", size="tiny", out=tmp_path)
    assert {"torus", "predicted", "true"} <= set(texts)


@pytest.mark.parametrize("name", SUITES)
def test_plain_names_are_the_papers_networks_at_every_size(name: str) -> None:
    for size in SUITES[name].sizes.values():
        for method in ("pt", "np", "hnp"):
            network = size.methods.get(method)
            network = network.of if isinstance(network, MaskGenerator) else network
            assert network is None or isinstance(network, Equivariant)
    assert not any(
        method.endswith("+") for table in SUITES[name].paper.values() for method in table
    )


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_has_three_sizes_and_the_papers_numbers(name: str) -> None:
    suite = SUITES[name]
    assert list(suite.sizes)[:3] == ["tiny", "small", "paper"]
    assert all(size.data in suite.data for size in suite.sizes.values())
    assert set(suite.paper) <= set(suite.data)
    for size in suite.sizes.values():
        names = set(suite.names(size))
        assert all(set(numbers) <= names for numbers in suite.paper.values())


@pytest.mark.usefixtures("small_suites")
def test_only_the_papers_networks_have_the_papers_number_beside_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    suite = SUITES["inr-classification"]
    size = suite.sizes["tiny"]
    methods = {"mlp": size.methods["mlp"], "mlp+": size.methods["mlp"]}
    size = replace(size, methods=methods)
    sizes, paper = {"tiny": size, "small": size}, {"digits": {"mlp": 0.987}}
    monkeypatch.setitem(SUITES, suite.name, replace(suite, sizes=sizes, paper=paper))
    for chosen, shown in (("small", [True, False]), ("tiny", [False, False])):
        main(("suite", suite.name, "--size", chosen, "--out", str(tmp_path)))
        rows = re.findall(r"^ mlp\+? .*$", capsys.readouterr().out, re.MULTILINE)
        assert ["0.987" in row for row in rows] == shown


@pytest.mark.usefixtures("small_suites")
def test_a_second_run_reads_the_first_ones_outcomes(no_training: Callable[[], None]) -> None:
    first = run_suite("inr-classification", methods=["np", "mlp-aug"], size="tiny")
    no_training()
    assert run_suite("inr-classification", methods=["np", "mlp-aug"], size="tiny") == first


@pytest.mark.usefixtures("small_suites")
def test_a_change_of_the_editor_is_another_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> float:
        return run_suite("inr-editing", methods=["mlp"], size="tiny").methods["mlp"].metric

    before, forward = run(), Editor.forward
    with monkeypatch.context() as patch:
        patch.setattr(Editor, "forward", lambda self, features: forward(self, features) / 2)
        assert run() != before
    assert run() == before


@pytest.mark.usefixtures("small_suites")
def test_an_interrupted_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = ["mlp", "np"]
    trained, optimizer = [], torch.optim.AdamW

    def counted(parameters: Iterator[nn.Parameter], **settings: float) -> torch.optim.AdamW:
        trained.append(parameters)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return optimizer(parameters, **settings)

    monkeypatch.setattr(torch.optim, "AdamW", counted)
    with pytest.raises(KeyboardInterrupt):
        run_suite("inr-classification", methods=methods, size="tiny")
    run_suite("inr-classification", methods=methods, size="tiny")
    assert len(trained) == 3


@pytest.mark.usefixtures("small_suites")
def test_a_network_of_ones_own_runs_alone_or_beside_methods() -> None:
    alone = run_suite("inr-classification", build=stats, size="tiny")
    assert list(alone.methods) == ["yours"]
    beside = run_suite("inr-classification", build=stats, methods=["mlp"], size="tiny")
    assert list(beside.methods) == ["mlp", "yours"]
    assert beside.methods["yours"] == alone.methods["yours"]

    def edits(spec: NetworkSpec) -> nn.Module:
        return EquivariantNFN(spec, EquivariantConfig(hidden=(4,)))

    assert run_suite("inr-editing", build=edits, size="tiny").methods["yours"].metric > 0


@pytest.mark.usefixtures("small_suites")
def test_images_of_ones_own_are_data() -> None:
    images, labels = torch.rand(50, 1, 5, 6), torch.arange(50) % 3
    data = Dataset(images, labels, images[:12], labels[:12])
    result = run_suite("inr-classification", methods=["np"], data=data, size="tiny")
    assert (result.data, result.paper) == ("custom", {})
    with pytest.raises(ValueError, match=r"\(2, 10\).*needs.*\(2, 3\)"):
        run_suite("inr-classification", build=stats, data=data, size="tiny")


@pytest.mark.usefixtures("small_suites")
def test_one_name_is_a_method_too() -> None:
    assert list(run_suite("inr-classification", methods="mlp", size="tiny").methods) == ["mlp"]


@pytest.mark.usefixtures("small_suites")
def test_a_picture_that_fails_costs_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setitem(SUITES, "inr-editing", replace(SUITES["inr-editing"], plot=draw))
    with pytest.warns(UserWarning, match="inr-editing-digits-tiny.png could not.*no space left"):
        result = run_suite("inr-editing", methods=["mlp"], size="tiny", out=tmp_path)
    assert result.methods["mlp"].metric > 0
    assert result.picture is None


@pytest.mark.parametrize("reached", [float("nan"), float("inf")])
@pytest.mark.usefixtures("small_suites")
def test_a_metric_that_is_no_number_is_null_in_json(
    reached: float,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def objective(*_: object) -> float:
        return reached

    numbers = tmp_path / "numbers.json"
    suite = SUITES["inr-classification"]
    more = {"beside it": lambda experiment, outcome: reached}
    monkeypatch.setitem(SUITES, suite.name, replace(suite, more=more))
    monkeypatch.setattr("meta_train.suites.tasks._classification_sizes.accuracy", objective)
    arguments = ("suite", suite.name, "--size", "tiny", "--method", "mlp", "--seeds", "2")
    main((*arguments, "--json", str(numbers)))
    content = json.loads(numbers.read_text(), parse_constant=pytest.fail)
    result = content["methods"]["mlp"]
    assert (result["metric"], result["std"], result["beside it"]) == (None, None, None)
    printed = capsys.readouterr().out
    assert str(reached) in printed
    assert "±" not in printed


def test_the_list_fits_a_terminal_and_cuts_no_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(("suite", "list", "--json", str(tmp_path / "list.json")))
    printed = capsys.readouterr().out.splitlines()[:-1]  # the last names the file
    assert max(map(len, printed)) <= 80
    words = {word for line in printed for word in line.replace(",", " ").split()}
    listed = json.loads((tmp_path / "list.json").read_text())
    assert list(listed) == list(SUITES)
    for name, suite in SUITES.items():
        methods = {method for size in suite.sizes.values() for method in suite.names(size)}
        assert set(listed[name]["methods"]) == methods
        assert listed[name]["sizes"] == list(suite.sizes)
        assert words >= {name, *suite.data, *suite.sizes, *methods}


def test_the_command_lists_suites_and_ends_mistakes_with_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(("suite", "list"))
    assert "nft" in capsys.readouterr().out
    for arguments, message in (
        (("nope",), "there is no suite 'nope'"),
        (("inr-editing", "--threads", "0"), "--threads must be"),
    ):
        with pytest.raises(SystemExit) as exit_:
            main(("suite", *arguments))
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_tiny_suites_put_methods_in_the_papers_order() -> None:
    reached = run_suite("inr-classification", size="tiny").methods
    assert min(reached[name].metric for name in ("np", "hnp")) > 0.18
    assert max(reached[name].metric for name in ("mlp", "mlp-aug")) < 0.15
    reached = run_suite("inr-editing", size="tiny").methods
    assert reached["np"].metric < reached["pt"].metric < reached["mlp"].metric
