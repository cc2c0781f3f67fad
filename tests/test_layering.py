"""Imports run one way through the packages, and `import nfn_optim` stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A module imports from its own row and the rows above it, never from one below.
ROWS = {
    "nfn_optim": [
        "_storage _native _user_cache",
        "_spec",
        "_features _permute _trace _chain",
        "layers",
        "networks",
        "rules",
        "_optimizer _checkpoint _coverage _fallback _groups _validate",
        "testing __init__",
    ],
    "meta_train": [
        "_checks _unroll _horizon _config _device _source _inner_run _distributed tasks",
        "estimators _higher_optimizer _pool zoo",
        "_higher",
        "_outer _validation",
        "_trainer _train _preflight _family_source _demo _runs _tracking suites"
        " _evaluate _measure _report _results _baselines _statistics _sweep _sweep_cache _timing",
        "_console _train_command _suite_command",
        "_cli __init__",
        "__main__",
    ],
}
DEPENDENCIES = {
    "nfn_optim": {"torch", "numpy", "safetensors"},
    "meta_train": {
        *("torch", "numpy", "safetensors", "sklearn", "scipy", "matplotlib", "rich", "tyro"),
        "nfn_optim",
    },
}
# Imported by the one function that needs it: an extra, not a dependency.
EXTRAS = {
    ("nfn_optim.testing", "hypothesis"),
    ("meta_train._tracking", "wandb"),
    ("meta_train._train_command", "yaml"),
    ("meta_train._higher", "higher"),
    ("meta_train._higher_optimizer", "higher"),
}
# NetworkSpec.from_module calls the tracer that makes specs: the one import upwards, when called.
CALLED_LATE = {("nfn_optim._spec", "nfn_optim._trace")}
# What both packages need: a compiler of native code, and a folder for what is made once.
SHARED = {"nfn_optim._native", "nfn_optim._user_cache"}
HEAVY = ("sklearn", "matplotlib", "rich", "hypothesis", "meta_train")


def read_imports(root: Path) -> Iterator[tuple[str, str]]:
    """Every import of the packages under `root` as a pair of modules (importer, imported)."""
    for path in sorted(p for package in ROWS for p in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                package = parts[: len(parts) - node.level] if node.level else ()
                source = ".".join([*package, *([node.module] if node.module else [])])
                for alias in node.names:
                    inner = f"{source}.{alias.name}"
                    yield module, inner if is_module(root, inner) else source


def is_module(root: Path, name: str) -> bool:
    path = root.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def row_of(module: str) -> int:
    package, *inner = module.split(".")
    unit = inner[0] if inner else "__init__"
    for index, row in enumerate(ROWS[package]):
        if unit in row.split():
            return index
    raise AssertionError(f"{module} has no place in the layering: give it a row in {__file__}")


def may_use(importer: str, source: str) -> bool:
    allowed = DEPENDENCIES[importer.split(".")[0]] | sys.stdlib_module_names
    return source in allowed or (importer, source) in EXTRAS


def find_violations(root: Path) -> list[str]:
    violations = []
    for importer, imported in sorted(set(read_imports(root))):
        package, source = importer.split(".")[0], imported.split(".")[0]
        arrow = f"{importer} imports {imported}"
        if source == package:
            if row_of(imported) > row_of(importer) and (importer, imported) not in CALLED_LATE:
                violations.append(f"{arrow}, which is built on top of it")
        elif not may_use(importer, source):
            violations.append(f"{arrow}, which {package} may not use")
        elif source == "nfn_optim" and "._" in imported and imported not in SHARED:
            violations.append(f"{arrow}, which is private")
    return violations


def imported_by(statement: str) -> list[str]:
    """Which heavy packages a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*[m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_imports_run_one_way() -> None:
    assert not find_violations(ROOT)


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for importer, imported in set(read_imports(ROOT)) - CALLED_LATE:
        if importer != imported and imported.split(".")[0] in ROWS:
            graph.setdefault(importer, set()).add(imported)
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    ("file", "line", "violation"),
    [
        ("nfn_optim/_spec.py", "from .rules import SGDRule", "built on top"),
        ("nfn_optim/_spec.py", "def f():\n    from . import _features", "built on top"),
        ("nfn_optim/layers/_linear.py", "from ..rules._base import UpdateRule", "built on top"),
        ("nfn_optim/_features.py", "import nfn_optim.layers", "built on top"),
        ("nfn_optim/_features.py", "import sklearn.datasets", "may not use"),
        ("nfn_optim/testing.py", "from meta_train import unroll", "may not use"),
        ("meta_train/tasks/_data.py", "from .._trainer import MetaTrainer", "built on top"),
        ("meta_train/_unroll.py", "from nfn_optim._spec import NetworkSpec", "private"),
        ("meta_train/_unroll.py", "from nfn_optim.rules import _base", "private"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, file: str, line: str, violation: str) -> None:
    for folder in ("nfn_optim/layers", "nfn_optim/rules", "meta_train/tasks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "nfn_optim/_features.py").touch()
    (tmp_path / "nfn_optim/rules/_base.py").touch()
    (tmp_path / file).write_text("import torch\nfrom math import pi\n")
    assert not find_violations(tmp_path)
    (tmp_path / file).write_text(line)
    found = find_violations(tmp_path)
    assert len(found) == 1
    assert violation in found[0]


def test_importing_nfn_optim_is_light() -> None:
    assert imported_by("import nfn_optim, nfn_optim.testing") == []


def test_a_heavy_import_is_noticed() -> None:
    assert imported_by("import nfn_optim, rich") == ["rich"]
