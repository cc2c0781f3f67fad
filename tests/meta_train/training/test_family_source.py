"""Families of tasks by name."""

import inspect
import sys

import pytest

from meta_train import load_family
from meta_train.tasks import default_family


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("family", "lacks a name"),
        ("no_such_module:family", "cannot import 'no_such_module'"),
        ("none.py:family", "no Python file 'none.py'"),
        (f"{__file__}:pytest", "of type module, not an instance of"),
        ("meta_train.tasks:TaskFamily", "of type ABCMeta, not an instance of"),
        (f"{__file__}:missing", "has no 'missing'"),
    ],
)
def test_unusable_families_are_named(tasks, message):
    with pytest.raises(ValueError, match=message):
        load_family(tasks)


def test_a_file_of_a_family_hides_no_module_of_its_name(tmp_path):
    file = tmp_path / "inspect.py"
    file.write_text(
        "from meta_train import TaskFamily\n"
        "class Mine(TaskFamily):\n"
        "    def sample(self, generator): ...\n"
        "family = Mine()\n"
    )
    assert type(load_family(f"{file}:family")).__name__ == "Mine"
    assert sys.modules["inspect"] is inspect


def test_what_the_file_of_a_family_raises_is_passed_on(tmp_path):
    file = tmp_path / "torn.py"
    file.write_text("1 / 0")
    for _ in range(2):  # the second time likewise
        with pytest.raises(ZeroDivisionError):
            load_family(f"{file}:family")


def test_a_family_of_a_package_is_found():
    assert load_family("meta_train.tasks:default_family") is default_family
