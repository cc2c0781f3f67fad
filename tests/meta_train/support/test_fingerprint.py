"""A fingerprint changes with values and with the code that they run, and with nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from meta_train.support import _code, fingerprint
from meta_train.zoo import _fields
from nfn_optim.testing import chain_spec, random_features

SOURCE = '''
"""A module of the user."""
from math import sqrt

FACTOR, UNUSED = 2, 3
TABLE = {"double": lambda x: x * FACTOR}

def scale(x):
    """Docstring."""
    return TABLE["double"](x) + 1  # comment

def unused(x):
    return x

class Base:
    shift = 4
    def moved(self, x):
        return x + self.shift

class Mover(Base):
    def move(self, x):
        return self.moved(scale(x))
    def rest(self, x):
        return x

def make(x, mover=Mover):
    return mover().move(x)
'''


def load(source: str) -> dict[str, Any]:
    """What a module holds that is not on the disk."""
    namespace: dict[str, Any] = {"__name__": "mine"}
    exec(source, namespace)
    return namespace


def code(source: str) -> str:
    return fingerprint(load(source)["make"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(x) + 1", "(x) + 2"),
        ("FACTOR, UNUSED = 2, 3", "FACTOR, UNUSED = 5, 3"),
        ("x * FACTOR", "x - FACTOR"),
        ("x + self.shift", "x - self.shift"),
        ("shift = 4", "shift = 5"),
        ("(Base)", "(Base, dict)"),
        ("return self.moved(scale(x))", "return scale(self.moved(x))"),
        ("mover=Mover", "mover=Base"),
    ],
)
def test_code_that_runs_counts(old: str, new: str) -> None:
    assert code(SOURCE) == code(SOURCE)
    assert code(SOURCE.replace(old, new)) != code(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Docstring", "Another"),
        ("# comment", "# another"),
        ("UNUSED = 2, 3", "UNUSED = 2, 4"),
        ("def unused(x):\n    return x", "def unused(x):\n    return -x"),
        ("def rest(self, x):\n        return x", "def rest(self, x):\n        return -x"),
        ("FACTOR, UNUSED", "\n\nFACTOR, UNUSED"),
    ],
)
def test_code_that_does_not_run_may_change(old: str, new: str) -> None:
    assert old in SOURCE
    assert code(SOURCE.replace(old, new)) == code(SOURCE)


def test_helpers_of_these_packages_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(_fields._fit_chunk)
    with monkeypatch.context() as patch:
        patch.setattr("meta_train.population._sine.layers_of", lambda params: [])
        assert fingerprint(_fields._fit_chunk) != before
    monkeypatch.setattr("meta_train.zoo._files.load_zoo", lambda folder: None)
    assert fingerprint(_fields._fit_chunk) == before


def test_values_count() -> None:
    spec, other = chain_spec((2, 3, 1)), chain_spec((2, 3, 1)).hnp()
    features = random_features(
        spec, 1, torch.Generator().manual_seed(0), batch=(2,), dtype=torch.float64
    )
    values = [1, "1", (1,), {"a": torch.ones(2)}, {"a": torch.zeros(2)}, spec, other, features]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint(features) == fingerprint(features.map(torch.clone))
    assert fingerprint(features) != fingerprint(features.map(lambda t: t + 1e-6))


def make_doubled(value: float) -> Callable[[], float]:
    return lambda: 2 * value


def test_outer_variables_count() -> None:
    assert fingerprint(make_doubled(1.0)) == fingerprint(make_doubled(1.0))
    assert fingerprint(make_doubled(1.0)) != fingerprint(make_doubled(3.0))


def test_native_code_beside_counts(tmp_path: Path) -> None:
    hashes = set()
    for content in ("int a;", "int b;"):
        (tmp_path / "train.cpp").write_text(content)
        _code._native_code_beside.cache_clear()
        namespace: dict[str, Any] = {"__name__": "mine", "__file__": str(tmp_path / "mine.py")}
        exec("def make(): return 1", namespace)
        hashes.add(fingerprint(namespace["make"]))
    assert len(hashes) == 2


def test_processes_agree() -> None:
    script = (
        "from meta_train.support import fingerprint; from meta_train.suites import SUITES\n"
        "from meta_train.zoo._classifiers import _make\n"
        "print(fingerprint(_make, {'b', 'a', 'c'}, SUITES['inr-editing']))"
    )
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
