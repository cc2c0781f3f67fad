"""The paper's tasks as suites that run on any network that reads networks."""

from ._registry import SUITES as SUITES
from ._run import run_suite as run_suite
from .harness import MethodResult as MethodResult
from .harness import SuiteResult as SuiteResult

__all__ = [  # the other names are for the folders beside
    "SuiteResult",
    "run_suite",
]
