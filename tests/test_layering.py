"""Imports run one way through the packages, and `import nfn_optim` stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A folder imports from its own row and the rows above it, never from one below. A path with a dot
# is a part of a folder, with a row of its own.
ROWS = {
    "nfn_optim": [
        "cache files hub",
        "native",
        "symmetry._heads",
        "symmetry.tracer",
        "symmetry",
        "layers._check layers._fold layers._groups layers._products",
        "layers.derived layers.relational",
        "layers",
        "networks",
        "rules",
        "native.step native.population native.convolution",
        "native.taped native.chain",
        "optimizer._local",
        "optimizer.sharded",
        "optimizer",
        "testing __init__",
    ],
    "meta_train": [
        "support data",
        "tasks._draw",
        "tasks.architectures",
        "tasks tasks.broad",
        "inner",
        "population estimators",
        "zoo higher",
        "training suites.harness evaluation._statistics evaluation.contenders evaluation.field",
        "suites.data suites.networks evaluation.sweep",
        "suites.tasks evaluation.report prediction",
        "suites evaluation",
        "commands",
        "__init__",
        "__main__",
    ],
}
DEPENDENCIES = {
    "nfn_optim": {"torch", "numpy", "safetensors"},
    "meta_train": {
        *(
            "torch",
            "numpy",
            "safetensors",
            "sklearn",
            "scipy",
            "matplotlib",
            "rich",
            "tyro",
            "joblib",
        ),
        "nfn_optim",
    },
}
# Imported by the one function that needs it: an extra, not a dependency.
EXTRAS = {
    ("nfn_optim.testing._specs", "hypothesis"),
    ("nfn_optim.hub", "huggingface_hub"),
    ("meta_train.commands._push", "huggingface_hub"),
    ("meta_train.commands._model_card", "huggingface_hub"),
    ("meta_train.training._tracking", "wandb"),
    ("meta_train.commands._settings", "yaml"),
    ("meta_train.zoo.collection._labels", "pyarrow"),
    ("meta_train.higher._register", "higher"),
    ("meta_train.higher._optimizer", "higher"),
}
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


def unit_of(module: str) -> str:
    """The folder that a module is in, as `ROWS` names it; for modules at the top, the module."""
    package, *inner = module.split(".")
    units = [unit for row in ROWS[package] for unit in row.split()]
    for length in range(len(inner), 0, -1):
        if ".".join(inner[:length]) in units:
            return ".".join(inner[:length])
    if not inner:
        return "__init__"
    raise AssertionError(f"{module} has no place in the layering: give it a row in {__file__}")


def row_of(module: str) -> int:
    unit = unit_of(module)
    rows = ROWS[module.split(".")[0]]
    return next(index for index, row in enumerate(rows) if unit in row.split())


def is_private_to_another(importer: str, imported: str) -> bool:
    """Whether a module is private to a folder that the importer is not in."""
    path, _, _ = imported.partition("._")
    return "._" in imported and not f"{importer}.".startswith(f"{path}.")


def may_use(importer: str, source: str) -> bool:
    allowed = DEPENDENCIES[importer.split(".")[0]] | sys.stdlib_module_names
    return source in allowed or (importer, source) in EXTRAS


def find_violations(root: Path) -> list[str]:
    violations = []
    for importer, imported in sorted(set(read_imports(root))):
        package, source = importer.split(".")[0], imported.split(".")[0]
        arrow = f"{importer} imports {imported}"
        if source == package and row_of(imported) > row_of(importer):
            violations.append(f"{arrow}, which is built on top of it")
        elif source != package and not may_use(importer, source):
            violations.append(f"{arrow}, which {package} may not use")
        elif source in ROWS and is_private_to_another(importer, imported):
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
    for importer, imported in set(read_imports(ROOT)):
        if importer != imported and imported.split(".")[0] in ROWS:
            graph.setdefault(importer, set()).add(imported)
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    ("file", "line", "violation"),
    [
        ("nfn_optim/symmetry/_spec.py", "from ..rules import SGDRule", "built on top"),
        ("nfn_optim/symmetry/_spec.py", "def f():\n    from .. import layers", "built on top"),
        ("nfn_optim/symmetry/tracer/_walk.py", "from .. import NetworkSpec", "built on top"),
        ("nfn_optim/layers/_pool.py", "from ..rules._base import UpdateRule", "built on top"),
        ("nfn_optim/symmetry/_spec.py", "import sklearn.datasets", "may not use"),
        ("nfn_optim/testing.py", "from meta_train import unroll", "may not use"),
        ("nfn_optim/rules/_nfn.py", "from ..symmetry._spec import NetworkSpec", "private"),
        ("meta_train/tasks/_draw.py", "from ..training import MetaTrainer", "built on top"),
        ("meta_train/inner/_unroll.py", "from nfn_optim.rules import _base", "private"),
        ("meta_train/suites/_run.py", "from ..zoo._files import MANIFEST", "private"),
        ("meta_train/suites/harness/_fit.py", "from ..data import render", "built on top"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, file: str, line: str, violation: str) -> None:
    for name in ("nfn_optim/layers/__init__", "nfn_optim/rules/_base", "meta_train/training/_run"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).with_suffix(".py").touch()
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
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
