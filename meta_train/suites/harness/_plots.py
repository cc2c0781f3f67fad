"""Pictures of what suites reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor


def plot_images(rows: Mapping[str, Tensor], path: Path) -> None:
    """Writes a grid of images, a labelled row of each kind.

    Args:
        rows: Images `(n, c, h, w)` in [-1, 1] by label.
        path: Path of the PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(images) for images in rows.values())
    figure = Figure(figsize=(columns + 1.2, len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, (label, images) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
        shown = ((images.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).numpy()
        for panel, image in zip(line, shown, strict=False):
            panel.imshow(image, cmap="gray", vmin=0, vmax=1)
        for panel in line:
            panel.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=100)


def plot_bars(rows: Mapping[str, Tensor], groups: Sequence[str], what: str, path: Path) -> None:
    """Writes bars of numbers, a group for each place and a color for each row.

    Args:
        rows: Numbers `(groups,)` by label.
        groups: Names of the places.
        what: What the numbers are.
        path: Path of the PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 + 2 * len(groups), 4), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    width = 0.8 / len(rows)
    for index, (label, numbers) in enumerate(rows.items()):
        places = [group + width * index for group in range(len(groups))]
        panel.bar(places, numbers.numpy(), width, align="edge", label=label)
    panel.set_xticks([group + 0.4 for group in range(len(groups))], groups)
    panel.set_ylabel(what)
    panel.legend(loc="lower left")
    figure.savefig(path, dpi=100)


def plot_scatter(columns: Mapping[str, Tensor], truth: Tensor, what: str, path: Path) -> None:
    """Writes predictions over true values, a panel for each label.

    Args:
        columns: Predictions `(n,)` by label.
        truth: True values `(n,)`.
        what: What is predicted.
        path: Path of the PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(columns), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(columns), squeeze=False, sharex=True, sharey=True)[0]
    for panel, (label, predictions) in zip(panels, columns.items(), strict=True):
        panel.axline((0, 0), slope=1, color="gray", linewidth=1)
        panel.scatter(truth.numpy(), predictions.numpy(), s=4, alpha=0.5)
        panel.set(title=label, xlabel=f"true {what}", aspect="equal")
    panels[0].set_ylabel(f"predicted {what}")
    figure.savefig(path, dpi=100)
