"""How good predictions are, by scikit-learn, beside what no reading of weights would reach."""

from __future__ import annotations

import math
import warnings

import numpy as np

_BINS = 10


def number_scores(truth: np.ndarray, predicted: np.ndarray, usual: float) -> dict[str, float]:
    """R2, Kendall's tau and the mean absolute error; `usual` is the mean of training networks."""
    from scipy.stats import kendalltau
    from sklearn.metrics import mean_absolute_error, r2_score

    return {
        "R2": float(r2_score(truth, predicted)),
        "Kendall tau": float(kendalltau(truth, predicted).statistic),
        "MAE": float(mean_absolute_error(truth, predicted)),
        "MAE of the mean": float(mean_absolute_error(truth, np.full_like(truth, usual))),
    }


def class_scores(truth: np.ndarray, chances: np.ndarray, usual: int) -> dict[str, float]:
    """Accuracy, that of always answering `usual`, log loss and calibration error.

    Args:
        truth: Classes `(n,)`.
        chances: Predicted probabilities `(n, classes)`.
        usual: The class of most training networks.
    """
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

    answers = chances.argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # answers with a class that no truth has
        balanced = float(balanced_accuracy_score(truth, answers))
    return {
        "accuracy": float(accuracy_score(truth, answers)),
        "majority accuracy": float(np.mean(truth == usual)),
        "balanced accuracy": balanced,
        "log loss": float(log_loss(truth, chances, labels=range(chances.shape[1]))),
        "calibration error": calibration_error(chances.max(1), answers == truth),
    }


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean distance of confidence and accuracy, over ten bins of confidence (Guo et al., 2017)."""
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(confidence[place == b].mean() - correct[place == b].mean()) * np.mean(place == b)
        for b in np.unique(place)
    ]
    return float(sum(gaps)) if gaps else math.nan
