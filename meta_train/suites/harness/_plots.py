"""Pictures of what suites reached: every panel says which method it shows, and its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_COLUMNS = 4  # panels side by side


def plot_images(rows: Mapping[str, Tensor], path: Path) -> None:
    """Writes a grid of images, a labelled row of each kind.

    Args:
        rows: Images `(n, c, h, w)` in [-1, 1] by label.
        path: Path of the PNG file.
    """
    columns = max(len(images) for images in rows.values())
    with _figure((1.6 * columns + 1.6, 1.6 * len(rows)), path) as figure:
        panels = figure.subplots(len(rows), columns, squeeze=False)
        for line, (label, images) in zip(panels, rows.items(), strict=True):
            line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=12)
            shown = ((images.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).numpy()
            for panel, image in zip(line, shown, strict=False):
                panel.imshow(image, cmap="gray", vmin=0, vmax=1)
            for panel in line:
                panel.set(xticks=[], yticks=[])


def plot_values(rows: Mapping[str, Tensor], what: str, path: Path) -> None:
    """Writes a column for each label: a point a value, and a line at their mean, with its number.

    Args:
        rows: Values `(n,)` by label.
        what: What the values are.
        path: Path of the PNG file.
    """
    with _figure((2 + len(rows), 4), path) as figure:
        panel = figure.subplots()
        for place, values in enumerate(rows.values()):
            mean = float(values.mean())
            panel.plot([place] * len(values), values.numpy(), "o", markersize=4, alpha=0.4)
            panel.hlines(mean, place - 0.3, place + 0.3, color="black")
            panel.annotate(f"{mean:.3f}", (place + 0.32, mean), va="center")
        panel.set_xticks(range(len(rows)), list(rows))
        panel.set_xlim(-0.6, len(rows) - 0.1)
        panel.set_ylabel(what)


def plot_scatter(columns: Mapping[str, Tensor], truth: Tensor, what: str, path: Path) -> None:
    """Writes predictions over true values, a panel for each label.

    Args:
        columns: Predictions `(n,)` by label.
        truth: True values `(n,)`.
        what: What is predicted.
        path: Path of the PNG file.
    """
    everything = torch.cat([truth, *columns.values()])
    finite = everything[everything.isfinite()]
    limits = float(finite.min()) - 0.03, float(finite.max()) + 0.03
    with _grid(list(columns), 3.2, path) as panels:
        for panel, predictions in zip(panels, columns.values(), strict=True):
            panel.axline((0, 0), slope=1, color="gray", linewidth=1)
            panel.scatter(truth.numpy(), predictions.numpy(), s=4, alpha=0.5)
            panel.set(xlabel=f"true {what}", ylabel=f"predicted {what}", aspect="equal")
            panel.set(xlim=limits, ylim=limits)


def plot_confusions(
    columns: Mapping[str, Tensor], truth: Tensor, classes: Sequence[str], path: Path
) -> None:
    """Writes how often each class is taken for each other, a panel for each label.

    Args:
        columns: Predicted classes `(n,)` by label.
        truth: True classes `(n,)`.
        classes: Their names.
        path: Path of the PNG file.
    """
    with _grid(list(columns), 3.6, path) as panels:
        for panel, predictions in zip(panels, columns.values(), strict=True):
            panel.imshow(confusion(predictions, truth, len(classes)).numpy(), cmap="Blues", vmin=0)
            panel.set_xticks(range(len(classes)), classes, rotation=90)
            panel.set_yticks(range(len(classes)), classes)
            panel.set(xlabel="predicted", ylabel="true")


def confusion(predictions: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Part of each true class (rows) that is predicted as each class (columns)."""
    places = num_classes * truth + predictions
    counts = torch.bincount(places, minlength=num_classes**2).reshape(num_classes, num_classes)
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


@contextmanager
def _figure(size: tuple[float, float], path: Path) -> Iterator[Any]:
    """A figure of a size in inches, written to a path in the end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    figure.savefig(path, dpi=100, bbox_inches="tight")


@contextmanager
def _grid(titles: Sequence[str], side: float, path: Path) -> Iterator[list[Any]]:
    """Panels of a side in inches with titles, in lines of a few."""
    columns = min(_COLUMNS, len(titles))
    lines = -(-len(titles) // columns)
    with _figure((side * columns, side * lines), path) as figure:
        panels = list(figure.subplots(lines, columns, squeeze=False).flat)
        for empty in panels[len(titles) :]:
            empty.set_visible(False)
        for panel, title in zip(panels, titles, strict=False):
            panel.set_title(title)
        yield panels[: len(titles)]
