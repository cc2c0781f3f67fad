"""Every public name can be imported, is documented, and its module has a page in docs/api."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import griffe
import pytest

ROOT = Path(__file__).parents[1]
FACES = (
    "nfn_optim",
    *(f"nfn_optim.{name}" for name in ("layers", "networks", "rules", "testing")),
    "meta_train",
    *(f"meta_train.{name}" for name in ("tasks", "estimators", "evaluation", "suites")),
    *(f"meta_train.{name}" for name in ("zoo", "prediction")),
)
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
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs" / "tutorials").glob("*.py")),
    *sorted((ROOT / "examples").glob("*.py")),
]


def load_faces() -> list[griffe.Module]:
    """The public modules, read from their source without importing them."""
    loader = griffe.GriffeLoader(search_paths=[ROOT])
    for package in {face.partition(".")[0] for face in FACES}:
        loader.load(package)
    loader.resolve_aliases(implicit=True)
    return [loader.modules_collection[face] for face in FACES]


def public_names(face: griffe.Module) -> dict[str, griffe.Object]:
    """What the `__all__` of a module lists."""
    names = [str(name) for name in face.exports or ()]
    members = {name: face.members[name] for name in names}
    aliased = griffe.Alias
    return {n: m.final_target if isinstance(m, aliased) else m for n, m in members.items()}


def methods_of(item: griffe.Object) -> Iterator[griffe.Function]:
    """Public methods that a class defines itself."""
    if isinstance(item, griffe.Class):
        for name, member in item.members.items():
            if isinstance(member, griffe.Function) and not name.startswith("_"):
                yield member


@pytest.fixture(scope="module")
def faces() -> dict[str, griffe.Module]:
    return {face.path: face for face in load_faces()}


def undocumented(items: dict[str, griffe.Object]) -> list[str]:
    """Names without a docstring, and public methods without one."""
    missing = []
    for name, item in items.items():
        methods = {f"{name}.{method.name}": method for method in methods_of(item)}
        missing += [n for n, i in {name: item, **methods}.items() if i.docstring is None]
    return missing


def imports_of(text: str) -> set[tuple[str, str]]:
    """Pairs of module and name that a page or script imports from our packages."""
    statement = r"from ((?:nfn_optim|meta_train)[\w.]*) import ([\w, ]+|\([^)]*\))"
    found = re.findall(statement, text)
    return {(module, name) for module, names in found for name in re.findall(r"\w+", names)}


@pytest.mark.parametrize("face", FACES)
def test_public_names_can_be_imported(face: str) -> None:
    module = importlib.import_module(face)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("face", PROMISED)
def test_promised_names_are_public(face: str) -> None:
    assert set(PROMISED[face]) <= set(importlib.import_module(face).__all__)


@pytest.mark.parametrize("path", WRITTEN_FOR_USERS, ids=lambda path: path.name)
def test_users_are_told_to_import_public_names(path: Path) -> None:
    public = {(face, n) for face in FACES for n in importlib.import_module(face).__all__}
    assert imports_of(path.read_text()) <= public


@pytest.mark.parametrize("face", FACES)
def test_public_names_are_documented(face: str, faces: dict[str, griffe.Module]) -> None:
    assert faces[face].docstring
    assert undocumented(public_names(faces[face])) == []


def test_every_face_has_a_page_of_its_own_and_no_other_module_has() -> None:
    pages = [page.read_text() for page in sorted((ROOT / "docs" / "api").glob("[!R]*.md"))]
    shown = [re.fullmatch(r"# (\S+)\n\n::: \1\n", page) for page in pages]
    assert sorted(found[1] if found else "" for found in shown) == sorted(FACES)


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
        assert undocumented(public_names(module)) == ["Bare", "Bare.method"]
