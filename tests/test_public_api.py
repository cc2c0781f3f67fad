"""Every public name can be imported, is documented, and has a row in the README's API table."""

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

README = Path(__file__).parents[1] / "README.md"
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
    "meta_train": ["TaskFamily", "unroll", "TruncatedBPTT", "MetaTrainer", "evaluate", "load_data"],
}


PUBLIC = (
    "nfn_optim",
    *(f"nfn_optim.{name}" for name in ("layers", "networks", "rules", "testing")),
    "meta_train",
    *(f"meta_train.{name}" for name in ("tasks", "estimators", "suites", "zoo")),
)


def public_modules() -> list[ModuleType]:
    return [importlib.import_module(name) for name in PUBLIC]


def public_names(module: ModuleType) -> dict[str, Any]:
    """Classes and functions of ours in a module's `__all__`; without one, those it defines or, as
    a package, re-exports.
    """
    is_package = hasattr(module, "__path__")
    return {
        f"{module.__name__}.{name}": item
        for name, item in vars(module).items()
        if name in getattr(module, "__all__", [name])
        and not name.startswith("_")
        and (inspect.isclass(item) or inspect.isfunction(item))
        and item.__module__.split(".")[0] in ("nfn_optim", "meta_train")
        and (is_package or item.__module__ == module.__name__)
    }


def undocumented(name: str, item: Any) -> list[str]:
    """The name itself and its public methods, where they have no docstring of their own."""
    own = item.__doc__ or ""
    generated = own.startswith(f"{item.__name__}(")  # by @dataclass
    missing = [] if own and not generated else [name]
    for attribute, value in vars(item).items() if inspect.isclass(item) else ():
        called = inspect.isroutine(value) or isinstance(value, property)
        if (
            called
            and not attribute.startswith("_")
            and not inspect.getdoc(getattr(item, attribute))
        ):
            missing.append(f"{name}.{attribute}")
    return missing


def table_rows() -> list[str]:
    """Dotted names in the first column of the README's API table."""
    section = README.read_text().split("\n## API\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]


def look_up(dotted: str) -> Any:
    module, name = dotted.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module", PROMISED)
def test_promised_names_can_be_imported(module: str) -> None:
    for name in PROMISED[module]:
        assert callable(getattr(importlib.import_module(module), name)), f"{module}.{name}"


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_public_names_are_documented(module: ModuleType) -> None:
    assert module.__doc__, f"{module.__name__} has no docstring"
    assert not [m for name, item in public_names(module).items() for m in undocumented(name, item)]


def test_every_public_name_has_a_row_in_the_readme() -> None:
    rows = {look_up(name) for name in table_rows()}
    names = {n: item for module in public_modules() for n, item in public_names(module).items()}
    assert not [name for name, item in names.items() if item not in rows]


def test_readme_lists_each_name_once_and_only_what_exists() -> None:
    rows = table_rows()
    assert len(rows) == len({look_up(name) for name in rows})


def test_a_missing_docstring_is_noticed() -> None:
    class Bare:
        def method(self) -> None: ...

    class Documented:
        """Has one."""

        def method(self) -> None:
            """Has one."""

    assert undocumented("Bare", Bare) == ["Bare", "Bare.method"]
    assert undocumented("Documented", Documented) == []
