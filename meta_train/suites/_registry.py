"""All suites by name. A new suite is a module in `tasks` with a `Suite`, and its entry here."""

from __future__ import annotations

from typing import Any

from .harness import Suite
from .tasks import (
    CNN_GENERALIZATION,
    INR_CLASSIFICATION,
    INR_EDITING,
    MLP_GENERALIZATION,
    MLP_GENERALIZATION_5,
    SHAPE_CLASSIFICATION,
    WINNING_TICKETS,
)

SUITES: dict[str, Suite[Any, Any]] = {
    suite.name: suite
    for suite in (
        CNN_GENERALIZATION,
        MLP_GENERALIZATION,
        MLP_GENERALIZATION_5,
        INR_CLASSIFICATION,
        INR_EDITING,
        SHAPE_CLASSIFICATION,
        WINNING_TICKETS,
    )
}
