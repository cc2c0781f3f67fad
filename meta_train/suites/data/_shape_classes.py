"""Ten classes of 3-D shapes made from primitives, as point clouds on their surfaces.

Shape legend: `m` points of three coordinates, the second of which is the vertical.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Points = NDArray[np.float64]
Part = tuple[float, Points]
"""An area, and points spread evenly over it."""

_PER_PART = 1500


def _box(rng: Generator, size: tuple[float, float, float], at: tuple[float, float, float]) -> Part:
    """A box of a size around a center."""
    x, y, z = size
    areas = np.array([y * z, y * z, x * z, x * z, x * y, x * y])
    face = rng.choice(6, _PER_PART, p=areas / areas.sum())
    points = rng.uniform(-0.5, 0.5, (_PER_PART, 3))
    points[np.arange(_PER_PART), face // 2] = face % 2 - 0.5
    return areas.sum(), points * size + at


def _turned(rng: Generator, radii: list[float], heights: list[float]) -> Part:
    """A profile turned around the vertical: radii at heights, with straight lines between."""
    r, y = np.array(radii), np.array(heights)
    areas = np.pi * (r[1:] + r[:-1]) * np.hypot(np.diff(r), np.diff(y))
    piece = rng.choice(len(areas), _PER_PART, p=areas / areas.sum())
    a, b, u = r[piece], r[piece + 1], rng.random(_PER_PART)
    radius = np.sqrt(a**2 + u * (b**2 - a**2))  # even over the area, not along the line
    along = np.where(np.isclose(a, b), u, (radius - a) / np.where(np.isclose(a, b), 1, b - a))
    angle = rng.uniform(0, 2 * np.pi, _PER_PART)
    height = y[piece] + along * (y[piece + 1] - y[piece])
    return areas.sum(), np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], 1)


def _ellipsoid(rng: Generator) -> list[Part]:
    normal = rng.normal(size=(_PER_PART, 3))
    size = rng.uniform(0.5, 1, 3)
    return [(1.0, normal / np.linalg.norm(normal, axis=1, keepdims=True) * size)]


def _brick(rng: Generator) -> list[Part]:
    x, y, z = rng.uniform(0.5, 1, 3)
    return [_box(rng, (x, y, z), (0, 0, 0))]


def _cylinder(rng: Generator) -> list[Part]:
    r, h = rng.uniform(0.3, 0.6), rng.uniform(0.6, 1.4)
    return [_turned(rng, [0, r, r, 0], [0, 0, h, h])]


def _cone(rng: Generator) -> list[Part]:
    r, h = rng.uniform(0.3, 0.6), rng.uniform(0.6, 1.4)
    return [_turned(rng, [0, r, 0], [0, 0, h])]


def _torus(rng: Generator) -> list[Part]:
    ring, tube = 1.0, rng.uniform(0.2, 0.45)
    turn = np.linspace(0, 2 * np.pi, 25)
    return [_turned(rng, list(ring + tube * np.cos(turn)), list(tube * np.sin(turn)))]


def _capsule(rng: Generator) -> list[Part]:
    r, h = rng.uniform(0.25, 0.5), rng.uniform(0.5, 1.2)
    turn = np.linspace(0, np.pi / 2, 9)
    radii, rise = list(r * np.cos(turn)), list(r * np.sin(turn))
    return [_turned(rng, radii[::-1] + radii, [-x for x in rise[::-1]] + [h + x for x in rise])]


def _pyramid(rng: Generator) -> list[Part]:
    base, h = rng.uniform(0.6, 1.2, 2), rng.uniform(0.6, 1.4)
    corners = np.array([[1, 0, 1], [1, 0, -1], [-1, 0, -1], [-1, 0, 1]]) * [base[0], 0, base[1]] / 2
    top = np.array([0, h, 0])
    sides = [(corners[i], corners[i - 1], top) for i in range(4)]
    bottom = [(corners[0], corners[1], corners[2]), (corners[0], corners[2], corners[3])]
    return [triangles(rng, np.array(sides + bottom), _PER_PART)]


def _table(rng: Generator) -> list[Part]:
    x, z, h, leg = *rng.uniform(0.8, 1.4, 2), rng.uniform(0.5, 0.9), rng.uniform(0.06, 0.12)
    return [_box(rng, (x, 0.08, z), (0, h, 0)), *_legs(rng, x, z, h, leg)]


def _chair(rng: Generator) -> list[Part]:
    x, z, h, leg = *rng.uniform(0.5, 0.8, 2), rng.uniform(0.4, 0.7), rng.uniform(0.06, 0.1)
    back = rng.uniform(0.5, 0.9)
    seat = _box(rng, (x, 0.08, z), (0, h, 0))
    rest = _box(rng, (x, back, 0.08), (0, h + back / 2, -z / 2))
    return [seat, rest, *_legs(rng, x, z, h, leg)]


def _cross(rng: Generator) -> list[Part]:
    x, y, z = rng.uniform(0.8, 1.4, 3)
    t = rng.uniform(0.15, 0.3)
    sizes = ((x, t, t), (t, y, t), (t, t, z))
    return [_box(rng, size, (0, 0, 0)) for size in sizes]


def _legs(rng: Generator, x: float, z: float, height: float, leg: float) -> list[Part]:
    places = [(i * (x - leg) / 2, height / 2, j * (z - leg) / 2) for i in (-1, 1) for j in (-1, 1)]
    return [_box(rng, (leg, height, leg), at) for at in places]


SHAPE_CLASSES: dict[str, Callable[[Generator], list[Part]]] = {
    "ellipsoid": _ellipsoid,
    "box": _brick,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "capsule": _capsule,
    "pyramid": _pyramid,
    "table": _table,
    "chair": _chair,
    "cross": _cross,
}
"""By name; each draws the parts of a shape of random proportions."""


def triangles(rng: Generator, corners: Points, num_points: int) -> Part:
    """Points spread evenly over triangles `(t, 3, 3)`: their area, and `(num_points, 3)`.

    Raises:
        ValueError: If the triangles have no area.
    """
    edges = corners[:, 1:] - corners[:, :1]
    areas = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / 2
    if not areas.any():
        raise ValueError("its faces have no area")
    chosen = rng.choice(len(areas), num_points, p=areas / areas.sum())
    u = rng.random((num_points, 2))
    u = np.where(u.sum(1, keepdims=True) > 1, 1 - u, u)
    return areas.sum(), corners[chosen, 0] + (u[:, :, None] * edges[chosen]).sum(1)


def draw_shape(rng: Generator, name: str, num_points: int, noise: float = 0.01) -> Points:
    """A point cloud `(num_points, 3)` of a class, turned around the vertical, with noise."""
    parts = SHAPE_CLASSES[name](rng)
    areas = np.array([area for area, _ in parts])
    part = rng.choice(len(parts), num_points, p=areas / areas.sum())
    points = np.stack([points for _, points in parts])[
        part, rng.integers(_PER_PART, size=num_points)
    ]
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return normalize(points @ turn.T) + noise * rng.normal(size=(num_points, 3))


def normalize(points: Points) -> Points:
    """Moves a shape's middle to the origin and scales it to a radius of 0.8."""
    centered = points - (points.max(0) + points.min(0)) / 2
    scaled: Points = 0.8 * centered / np.linalg.norm(centered, axis=1).max()
    return scaled
