"""All suites by name. A new suite is a module with a `Suite`, and its entry here."""

from __future__ import annotations

from typing import Any

from ._cnn_generalization import SUITE as CNN_GENERALIZATION
from ._inr_classification import SUITE as INR_CLASSIFICATION
from ._inr_editing import SUITE as INR_EDITING
from ._mlp_generalization import DEEP_SUITE as MLP_GENERALIZATION_5
from ._mlp_generalization import SUITE as MLP_GENERALIZATION
from ._shape_classification import SUITE as SHAPE_CLASSIFICATION
from ._suite import Suite
from ._winning_tickets import SUITE as WINNING_TICKETS

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
