"""What people train, small: the cases of docs/cases.md."""

from . import _dense, _fields, _hard, _structured
from ._case import Case as Case

GROUPS: dict[str, dict[str, Case]] = {
    "Networks of linear layers": _dense.CASES,
    "Images, texts, sequences": _structured.CASES,
    "Fields, physics, densities, policies": _fields.CASES,
    "Hard first steps, and networks that are trained": _hard.CASES,
}
CASES: dict[str, Case] = {name: case for group in GROUPS.values() for name, case in group.items()}
