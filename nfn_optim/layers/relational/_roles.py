"""Which populations of neurons play which role in which parameter, read off a spec once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from ...symmetry import NetworkSpec, SpecError

NUM_ROLES = 3  # neurons are the outputs of some weights, the inputs of others, and carry vectors


@dataclass(frozen=True)
class ParameterAxes:
    """Which axes of one parameter are its outputs, its inputs and its taps, in this order.

    Attributes:
        name: The parameter.
        out: Position of the population of its output axis in `Roles.sizes`.
        source: Position of the population of its input axis; None for a vector. A depthwise kernel
            is a vector with taps.
        taps: Number of trailing axes whose order matters.
    """

    name: str
    out: int
    source: int | None
    taps: int


@dataclass(frozen=True)
class Roles:
    """Which populations of neurons play which role in which parameter of one network.

    Attributes:
        spec: The network, with the axes of every parameter in the order that layers here work on:
            labelled axes first. A parameter without any has one of a single neuron of its own, so
            that scalars are vectors too.
        parameters: Weights first, then vectors, each in the order of the spec.
        num_weights: How many are weights.
        sizes: Neurons of each population.
        carriers: For each role, and each population, the parameters that carry it in this role.
    """

    spec: NetworkSpec
    parameters: tuple[ParameterAxes, ...]
    num_weights: int
    sizes: tuple[int, ...]
    carriers: tuple[tuple[tuple[str, ...], ...], ...]


def roles_of(spec: NetworkSpec) -> Roles:
    """The roles in a network; remembered, except by a compiler, which runs this once.

    Raises:
        SpecError: If a parameter runs over three populations or more.
    """
    return _roles(spec) if torch.compiler.is_compiling() else _remembered(spec)


@lru_cache(maxsize=256)
def _remembered(spec: NetworkSpec) -> Roles:
    return _roles(spec)


def _roles(spec: NetworkSpec) -> Roles:
    spec = _with_labels_first(spec)
    populations = {label: i for i, label in enumerate(spec.sizes)}
    weights: list[ParameterAxes] = []
    vectors: list[ParameterAxes] = []
    carriers: list[list[list[str]]] = [[[] for _ in populations] for _ in range(NUM_ROLES)]
    for name, labels in spec.axes.items():
        named = [populations[label] for label in labels if label is not None]
        if len(named) > 2:
            raise _too_many_populations(name, labels)
        taps = len(labels) - len(named)
        source = named[1] if named[1:] else None
        (vectors if source is None else weights).append(ParameterAxes(name, named[0], source, taps))
        for role, population in zip((0, 1) if named[1:] else (2,), named, strict=True):
            carriers[role][population].append(name)
    frozen = tuple(tuple(map(tuple, populations)) for populations in carriers)
    return Roles(spec, (*weights, *vectors), len(weights), tuple(spec.sizes.values()), frozen)


def _with_labels_first(spec: NetworkSpec) -> NetworkSpec:
    """The same network with the axes of every parameter in the order of `Roles.spec`."""
    scattered = [name for name, labels in spec.axes.items() if not _leads(labels)]
    if not scattered:
        return spec
    axes, shapes, orders = dict(spec.axes), dict(spec.shapes), dict(spec.orders)
    maps = dict(spec.maps)
    for name in scattered:
        labels, shape = spec.axes[name], spec.shapes[name]
        stored = spec.orders.get(name, tuple(range(len(labels))))
        moved = sorted(range(len(labels)), key=[label is None for label in labels].__getitem__)
        axes[name] = tuple(labels[axis] for axis in moved)
        shapes[name] = tuple(shape[axis] for axis in moved)
        orders[name] = tuple(stored[axis] for axis in moved)
        if name in maps:
            maps[name] = moved.index(maps[name])
        if all(label is None for label in labels):
            axes[name], shapes[name] = (f"{name} alone", *labels), (1, *shape)
            orders[name] = (0, *(axis + 1 for axis in stored))
            maps.pop(name, None)
    return replace(spec, axes=axes, shapes=shapes, orders=orders, maps=maps)


def _leads(labels: Sequence[str | None]) -> bool:
    """Whether there are labelled axes, and they stand before the others."""
    named = sum(label is not None for label in labels)
    return named > 0 and None not in labels[:named]


def _too_many_populations(name: str, labels: Sequence[str | None]) -> SpecError:
    return SpecError(
        f"parameter {name!r} runs over {sum(x is not None for x in labels)} populations {labels}; "
        "layers that are shared by relation know an output and an input. Label at most two axes "
        "and leave the others None, or leave the parameter out of the spec."
    )
