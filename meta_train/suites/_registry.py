"""All suites by name. A new suite is a module with a `Suite`, and its entry here."""

from __future__ import annotations

from typing import Any

from ._inr_classification import SUITE as INR_CLASSIFICATION
from ._inr_editing import SUITE as INR_EDITING
from ._suite import Suite

SUITES: dict[str, Suite[Any, Any]] = {
    suite.name: suite for suite in (INR_CLASSIFICATION, INR_EDITING)
}
