"""The paper's tasks, a suite each."""

from ._cnn_generalization import SUITE as CNN_GENERALIZATION
from ._inr_classification import SUITE as INR_CLASSIFICATION
from ._inr_editing import SUITE as INR_EDITING
from ._mlp_generalization import DEEP_SUITE as MLP_GENERALIZATION_5
from ._mlp_generalization import SUITE as MLP_GENERALIZATION
from ._shape_classification import SUITE as SHAPE_CLASSIFICATION
from ._winning_tickets import SUITE as WINNING_TICKETS

__all__ = [
    "CNN_GENERALIZATION",
    "INR_CLASSIFICATION",
    "INR_EDITING",
    "MLP_GENERALIZATION",
    "MLP_GENERALIZATION_5",
    "SHAPE_CLASSIFICATION",
    "WINNING_TICKETS",
]
