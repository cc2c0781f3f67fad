"""What a spec refuses: descriptions that contradict themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod

from ._heads import Heads
from ._storage import Labels, Shape


class SpecError(ValueError):
    """A network's symmetry could not be described, or tensors do not match the description."""


def check_axes(axes: Mapping[str, Labels], shapes: Mapping[str, Shape]) -> None:
    """Every parameter has labels and a shape, as many of each.

    Raises:
        SpecError: Naming a parameter that has not.
    """
    if set(axes) != set(shapes):
        odd = sorted(set(axes) ^ set(shapes))
        raise SpecError(f"parameters {odd} have labels or a shape, but not both. Give both.")
    for name, labels in axes.items():
        if len(labels) != len(shapes[name]):
            raise SpecError(
                f"parameter {name!r} has labels {labels} but shape {shapes[name]}: one label an "
                "axis."
            )


def check_storage(name: str, stored: Shape, shape: Shape, order: Shape | None) -> None:
    """A parameter is stored as what its axes make.

    Raises:
        SpecError: If it holds another number of entries, or the order is none.
    """
    order = tuple(range(len(shape))) if order is None else order
    if prod(stored) != prod(shape) or sorted(order) != list(range(len(shape))):
        raise SpecError(
            f"parameter {name!r} is stored as {stored}, which cannot be viewed as {shape} "
            f"in axis order {order}."
        )


def read_sizes(axes: Mapping[str, Labels], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Number of neurons of every population that labels an axis.

    Raises:
        SpecError: If two axes of one population have different sizes.
    """
    sizes: dict[str, int] = {}
    for name, labels in axes.items():
        for label, size in zip(labels, shapes[name], strict=True):
            if label is not None and sizes.setdefault(label, size) != size:
                raise SpecError(
                    f"population {label!r} has {sizes[label]} neurons, but parameter {name!r} "
                    f"gives it {size}. Use another label."
                )
    return sizes


def check_heads(heads: Mapping[str, Heads], sizes: Mapping[str, int]) -> None:
    """Populations are made of heads that there are, numbered as they say.

    Raises:
        SpecError: Naming the population whose heads do not fit.
    """
    numbers = dict(sizes)
    for label, group in heads.items():
        if label not in sizes:
            raise SpecError(f"population {label!r} has heads but labels no axis.")
        if group.count < 1 or sizes[label] % group.count or group.count % group.run:
            raise SpecError(
                f"population {label!r} of {sizes[label]} neurons cannot be made of {group.count} "
                f"heads in runs of {group.run}. Give a number of heads that divides its neurons."
            )
        if numbers.setdefault(group.numbering, group.num_runs) != group.num_runs:
            raise SpecError(
                f"population {label!r} numbers {group.num_runs} heads as {group.numbering!r}, "
                f"which are {numbers[group.numbering]}. Use another numbering."
            )


def check_roles(
    maps: Mapping[str, int], tables: Collection[str], axes: Mapping[str, Labels]
) -> None:
    """Separate maps lie along an axis without label; tables are parameters.

    Raises:
        SpecError: Naming the parameter of which this does not hold.
    """
    for name, axis in maps.items():
        labels = axes.get(name, ())
        if not 0 <= axis < len(labels) or labels[axis] is not None:
            raise SpecError(
                f"parameter {name!r} has separate maps along axis {axis}, but its labels are "
                f"{labels}. Give an axis whose label is None."
            )
    for name in tables:
        if name not in axes:
            raise SpecError(f"{name!r} is a table, but no parameter. Name one: {list(axes)}.")
