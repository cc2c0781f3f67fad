"""The paper's tasks as suites that run on any network that reads networks."""

from ._registry import SUITES as SUITES
from ._result import MethodResult as MethodResult
from ._result import SuiteResult as SuiteResult
from ._run import run_suite as run_suite
