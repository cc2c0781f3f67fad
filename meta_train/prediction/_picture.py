"""The picture of a prediction."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from nfn_optim.files import write_whole

from ._result import Prediction


def plot_prediction(result: Prediction, path: str | Path) -> None:
    """Writes a PNG file: predictions over true values, or a table of classes and calibration.

    Args:
        result: Of `predict`; the networks for testing of all seeds are shown.
        path: Where to; a file there is replaced.

    Raises:
        OSError: If it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = 2 if result.classes else 1
    figure = Figure(figsize=(4.2 * panels, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    if result.classes:
        _draw_classes(result, axes[0])
        _draw_calibration(result, axes[1])
    else:
        _draw_numbers(result, axes[0])
    content = BytesIO()
    figure.savefig(content, dpi=120, format="png")
    write_whole(Path(path), content.getvalue())


def _draw_numbers(result: Prediction, panel: Any) -> None:
    for seed in dict.fromkeys(answer.seed for answer in result.answers):
        own = [answer for answer in result.answers if answer.seed == seed]
        panel.scatter(
            [a.truth for a in own], [a.predicted for a in own], s=12, label=f"seed {seed}"
        )
    low, high = panel.get_xlim()
    panel.plot([low, high], [low, high], color="gray", linewidth=1, zorder=0)
    panel.set(xlabel=f"true {result.target}", ylabel=f"predicted {result.target}")
    panel.set_title(f"R2 {result.mean('R2'):.2f}, Kendall tau {result.mean('Kendall tau'):.2f}")
    panel.legend()


def _draw_classes(result: Prediction, panel: Any) -> None:
    from sklearn.metrics import confusion_matrix

    classes = list(result.classes)
    truth, predicted = zip(*((str(a.truth), str(a.predicted)) for a in result.answers), strict=True)
    counts = confusion_matrix(truth, predicted, labels=classes)
    panel.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts.max() / 2
        panel.text(column, row, count, ha="center", va="center", color="w" if dark else "k")
    panel.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    panel.set_yticks(range(len(classes)), classes)
    panel.set(xlabel=f"predicted {result.target}", ylabel=f"true {result.target}")
    majority = result.mean("majority accuracy")
    panel.set_title(f"accuracy {result.mean('accuracy'):.2f}, majority {majority:.2f}")


def _draw_calibration(result: Prediction, panel: Any) -> None:
    from sklearn.calibration import calibration_curve

    correct = [answer.truth == answer.predicted for answer in result.answers]
    confidence = [answer.confidence for answer in result.answers]
    share, mean = calibration_curve(correct, confidence, n_bins=10)
    panel.plot([0, 1], [0, 1], color="gray", linewidth=1)
    panel.plot(mean, share, marker="o")
    panel.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    panel.set_title(f"calibration error {result.mean('calibration error'):.2f}")
