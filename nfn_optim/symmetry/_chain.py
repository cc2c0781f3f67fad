"""A spec from parameter shapes alone, where they form one unambiguous chain of layers."""

from __future__ import annotations

from collections.abc import Mapping

from ._spec import Labels, NetworkSpec, Shape, SpecError


def infer_chain(shapes: Mapping[str, Shape]) -> NetworkSpec:
    """Reads weights (two axes or more) followed by optional biases as a chain of layers.

    A weight's input axis must have the size of the previous weight's output axis, or a multiple of
    it (a flatten boundary: the extra positions are an axis of their own, whose order matters).
    Vectors belong to the weight before them; they are in doubt where an earlier weight has as many
    outputs and fewer vectors, as when all weights come before all biases.

    Raises:
        SpecError: Naming the first parameter that does not continue the chain or is in doubt.
    """
    axes: dict[str, tuple[str | None, ...]] = {}
    views: dict[str, Shape] = {}
    unit, width, layer = "in", None, 0
    for name, shape in shapes.items():
        if len(shape) >= 2:
            positions = _positions(name, shape, width)
            layer += 1
            source, unit, width = unit, f"h{layer}", shape[0]
            inputs = shape[1] // positions
            taps = (*((positions,) if positions > 1 else ()), *shape[2:])
            axes[name] = (unit, source, *(None for _ in taps))
            views[name] = (shape[0], inputs, *taps)
        elif len(shape) == 1 and width == shape[0]:
            axes[name], views[name] = (unit,), shape
        else:
            raise _no_chain(name, shape)
    if not axes:
        raise SpecError("got no parameter. Pass at least one weight matrix.")
    _check_vectors(axes, shapes)
    axes = {n: tuple("out" if label == unit else label for label in a) for n, a in axes.items()}
    return NetworkSpec(axes, views, io=("in", "out"), stored=shapes)


def _check_vectors(axes: Mapping[str, Labels], shapes: Mapping[str, Shape]) -> None:
    counts: dict[str, int] = {}
    widths: dict[str, int] = {}
    for name, labels in axes.items():
        unit, is_vector = str(labels[0]), len(labels) == 1
        widths[unit] = shapes[name][0]
        counts[unit] = counts.get(unit, 0) + is_vector
        if is_vector and any(
            widths[other] == widths[unit] and counts[other] < counts[unit] for other in counts
        ):
            raise SpecError(
                f"parameters form no certain chain of layers: {name!r} of shape {shapes[name]} "
                "fits several layers. Pass the model itself so that its structure can be traced."
            )


def _positions(name: str, shape: Shape, width: int | None) -> int:
    """Positions a channel of the previous layer contributes to this weight's input axis."""
    if width is None or shape[1] == width:
        return 1
    if len(shape) == 2 and shape[1] % width == 0:
        return shape[1] // width
    raise _no_chain(name, shape, width)


def _no_chain(name: str, shape: Shape, width: int | None = None) -> SpecError:
    expected = "" if width is None else f" (expected {width} inputs)"
    return SpecError(
        f"parameters form no chain of layers: {name!r} of shape {shape} does not continue the "
        f"previous layer{expected}. Pass the model itself so that its structure can be traced."
    )
