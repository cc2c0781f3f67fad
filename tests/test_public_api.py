"""Every public name can be imported, is documented, and stands in docs/api.md."""

import importlib
import re
from pathlib import Path

import griffe
import pytest

import build_api

ROOT = Path(__file__).parents[1]
PROMISED = {
    "nfn_optim": [
        *("NetworkSpec", "SpecError", "WeightSpaceFeatures"),
        *("UpdateRule", "NFNRule", "AdamRule", "SGDRule", "load_rule", "save_rule"),
        "NFNOptimizer",
    ],
    "nfn_optim.layers": [
        *("NPLinear", "HNPLinear", "SharedNPLinear", "Pointwise", "NPAttention"),
        *("NPPool", "HNPPool", "CrossAttnPool", "LearnedPosEmbedding", "IOSinusoidalEncoding"),
        *("GaussianFourierFeatures", "WeightSpaceLayerNorm", "ChannelDropout", "ResidualBlock"),
        *("Map", "LearnedScale", "FlattenWeights", "UnflattenWeights", "StatFeaturizer"),
    ],
    "meta_train": [
        *("TaskFamily", "unroll", "TruncatedBPTT", "FullES", "PES", "MetaTrainer"),
        *("evaluate", "run_suite", "load_data"),
    ],
}
WRITTEN_FOR_USERS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*.py")),
]


@pytest.fixture(scope="module")
def faces() -> dict[str, griffe.Module]:
    return {face.path: face for face in build_api.load_faces()}


def undocumented(items: dict[str, griffe.Object]) -> list[str]:
    """Names without a docstring, and public methods without one."""
    missing = []
    for name, item in items.items():
        methods = {f"{name}.{method.name}": method for method in build_api.methods_of(item)}
        missing += [n for n, i in {name: item, **methods}.items() if not build_api.first_line(i)]
    return missing


def imports_of(text: str) -> set[tuple[str, str]]:
    """Pairs of module and name that a page or script imports from our packages."""
    statement = r"from ((?:nfn_optim|meta_train)[\w.]*) import ([\w, ]+|\([^)]*\))"
    found = re.findall(statement, text)
    return {(module, name) for module, names in found for name in re.findall(r"\w+", names)}


@pytest.mark.parametrize("face", build_api.FACES)
def test_public_names_can_be_imported(face: str) -> None:
    module = importlib.import_module(face)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("face", PROMISED)
def test_promised_names_are_public(face: str) -> None:
    assert set(PROMISED[face]) <= set(importlib.import_module(face).__all__)


@pytest.mark.parametrize("path", WRITTEN_FOR_USERS, ids=lambda path: path.name)
def test_users_are_told_to_import_public_names(path: Path) -> None:
    public = {(face, n) for face in build_api.FACES for n in importlib.import_module(face).__all__}
    assert imports_of(path.read_text()) <= public


@pytest.mark.parametrize("face", build_api.FACES)
def test_public_names_are_documented(face: str, faces: dict[str, griffe.Module]) -> None:
    assert build_api.first_line(faces[face])
    assert undocumented(build_api.public_names(faces[face])) == []


def test_the_page_is_as_the_code_says() -> None:
    assert build_api.PAGE.read_text() == build_api.make_page(), "run `make api` and commit the page"


def test_a_missing_docstring_is_noticed() -> None:
    code = '''
        __all__ = ["Bare", "Documented"]

        class Bare:
            def method(self): ...

        class Documented:
            """Has one."""
            def method(self):
                """Has one."""
    '''
    with griffe.temporary_visited_module(code) as module:
        assert undocumented(build_api.public_names(module)) == ["Bare", "Bare.method"]


def test_a_face_without_a_list_of_its_names_is_refused() -> None:
    with (
        griffe.temporary_visited_module("x = 1") as module,
        pytest.raises(ValueError, match="has no __all__"),
    ):
        build_api.public_names(module)


def test_a_name_that_is_not_there_is_refused() -> None:
    with (
        griffe.temporary_visited_module("__all__ = ['y']") as module,
        pytest.raises(ValueError, match="lists y"),
    ):
        build_api.public_names(module)
