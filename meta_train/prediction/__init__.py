"""Properties of networks, predicted from their weights."""

from ._network import Reader as Reader
from ._network import ReaderConfig as ReaderConfig
from ._picture import plot_prediction as plot_prediction
from ._predict import predict as predict
from ._readers import Readers as Readers
from ._readers import Reading as Reading
from ._result import Answer as Answer
from ._result import Prediction as Prediction

__all__ = [
    "Answer",
    "Prediction",
    "Reader",
    "ReaderConfig",
    "Readers",
    "Reading",
    "plot_prediction",
    "predict",
]
