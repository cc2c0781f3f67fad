"""3-D shapes with labels: drawn at random, or read from a folder for each class.

Shape legend: `n` shapes as clouds of `m` points of three coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator, default_rng
from scipy.spatial import cKDTree
from torch import Tensor

from ._shape_classes import SHAPE_CLASSES, Points, draw_shape, normalize, triangles

_CLOUD = 2000


@dataclass(frozen=True, eq=False)
class Shapes:
    """Point clouds and labels.

    Attributes:
        clouds: float32 in [-1, 1], `(n, m, 3)`.
        labels: int64, `(n,)`.
    """

    clouds: Tensor
    labels: Tensor


def draw_shapes(n: int, seed: int) -> Shapes:
    """Shapes of the ten classes in turn."""
    rng, names = default_rng(seed), list(SHAPE_CLASSES)
    clouds = [draw_shape(rng, names[index % len(names)], _CLOUD) for index in range(n)]
    return _as_shapes(clouds, [index % len(names) for index in range(n)])


def class_folders(folder: Path) -> list[Path]:
    """The folders of the classes, in order of their names.

    Raises:
        ValueError: If there are fewer than two.
    """
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(found) < 2:
        raise ValueError(
            f"{folder} has {len(found)} folders. Put the shapes of each class in a folder of its "
            "own, for at least two classes."
        )
    return found


def read_shapes(folder: Path, seed: int) -> Shapes:
    """Reads a folder of shapes for each class, in random order.

    Args:
        folder: With a folder for each class, of .off, .obj and ascii .ply meshes, .xyz text with a
            point a line, and .npz or .npy arrays `(m, 3)`.
        seed: Draws points on meshes, and the order.

    Raises:
        ValueError: If there is no shape, or a file is damaged; it names the file.
    """
    rng = default_rng(seed)
    clouds, labels = [], []
    for label, kind in enumerate(class_folders(folder)):
        for path in sorted(path for path in kind.iterdir() if path.suffix.lower() in _READERS):
            clouds.append(_cloud(path, rng))
            labels.append(label)
        if label not in labels:
            raise ValueError(f"{kind} has no shape. Known endings: {', '.join(_READERS)}.")
    order = rng.permutation(len(labels))
    return _as_shapes([clouds[index] for index in order], [labels[index] for index in order])


def sample_distances(shapes: Shapes, num_points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Places and their distance to the nearest point of the shape: unsigned distance functions.

    Half of the places are near the surface, half anywhere in [-1, 1].

    Returns:
        Coordinates `(n, num_points, 3)` and distances `(n, num_points, 1)`.
    """
    rng = default_rng(seed)
    coords, distances = [], []
    for cloud in shapes.clouds.numpy():
        near = cloud[rng.integers(len(cloud), size=num_points // 2)]
        near = near + 0.1 * rng.normal(size=near.shape)
        places = np.concatenate([near, rng.uniform(-1, 1, (num_points - len(near), 3))])
        coords.append(places.clip(-1, 1))
        distances.append(cKDTree(cloud).query(coords[-1])[0][:, None])
    return tuple(torch.from_numpy(np.stack(a)).float() for a in (coords, distances))  # type: ignore[return-value]


def _as_shapes(clouds: list[Points], labels: list[int]) -> Shapes:
    return Shapes(torch.from_numpy(np.stack(clouds)).float(), torch.tensor(labels))


def _cloud(path: Path, rng: Generator) -> Points:
    """Reads the point cloud of a file.

    Raises:
        ValueError: If it cannot be read, or holds no shape; it names the file.
    """
    try:
        vertices, faces = _READERS[path.suffix.lower()](path)
        _check_mesh(vertices, faces)
        return _sample(vertices, faces, rng)
    except Exception as error:  # each format is damaged in its own ways
        reason = str(error).rstrip(".") or "it ends early"
        raise ValueError(f"{path} is damaged or no shape: {reason}.") from error


def _check_mesh(vertices: Points, faces: list[list[int]]) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3 or len(vertices) < 3:
        raise ValueError(f"its points have the shape {vertices.shape}, not (m, 3)")
    if not np.isfinite(vertices).all() or not np.ptp(vertices, axis=0).any():
        raise ValueError("its points are not finite or all the same")
    if faces and not 0 <= min(map(min, faces)) <= max(map(max, faces)) < len(vertices):
        raise ValueError(f"a face names a vertex beyond its {len(vertices)}")
    if faces and max(map(len, faces)) < 3:
        raise ValueError("no face has three vertices")


def _sample(vertices: Points, faces: list[list[int]], rng: Generator) -> Points:
    """Points spread over a mesh's faces, or some of its points."""
    if faces:
        fans = [(face[0], b, c) for face in faces for b, c in pairwise(face[1:])]
        return normalize(triangles(rng, vertices[np.array(fans)], _CLOUD)[1])
    return normalize(vertices[rng.integers(len(vertices), size=_CLOUD)])


Mesh = tuple[Points, list[list[int]]]
"""Vertices `(v, 3)` and the vertices of each face; no faces for a cloud."""


def _lines(path: Path) -> Iterator[list[str]]:
    """Words of each line, without comments and empty lines."""
    for line in path.read_text(errors="replace").splitlines():
        if words := line.split("#")[0].split():
            yield words


def _read_off(path: Path) -> Mesh:
    lines = _lines(path)
    first = next(lines)
    if not first[0].startswith("OFF"):
        raise ValueError("it does not start with OFF")
    joined = [first[0][3:], *first[1:]]  # some files go on in the first line
    counts = [word for word in joined if word] or next(lines)
    vertices = [next(lines)[:3] for _ in range(int(counts[0]))]
    faces = [next(lines) for _ in range(int(counts[1]))]
    return _numbers(vertices), [_indices(face) for face in faces]


def _read_obj(path: Path) -> Mesh:
    vertices, faces = [], []
    for kind, *words in _lines(path):
        if kind == "v":
            vertices.append(words[:3])
        elif kind == "f":
            places = [int(word.split("/")[0]) for word in words]
            faces.append([p - 1 if p > 0 else len(vertices) + p for p in places])
    return _numbers(vertices), faces


def _read_ply(path: Path) -> Mesh:
    lines, counts = _lines(path), {"vertex": 0, "face": 0}
    for words in lines:
        if words[0] == "format" and words[1] != "ascii":
            raise ValueError(f"it is {words[1]}; save it as ascii")
        if words[0] == "element":
            counts[words[1]] = int(words[2])
        if words[0] == "end_header":
            break
    vertices = [next(lines)[:3] for _ in range(counts["vertex"])]
    return _numbers(vertices), [_indices(next(lines)) for _ in range(counts["face"])]


def _read_xyz(path: Path) -> Mesh:
    return _numbers([words[:3] for words in _lines(path)]), []


def _read_array(path: Path) -> Mesh:
    with path.open("rb") as file:  # of a damaged archive numpy leaves the file open
        content = np.load(file, allow_pickle=False)
        if not isinstance(content, np.ndarray):
            content = content[content.files[0]]
    return content.astype(np.float64), []


_READERS: dict[str, Callable[[Path], Mesh]] = {
    ".off": _read_off,
    ".obj": _read_obj,
    ".ply": _read_ply,
    ".xyz": _read_xyz,
    ".npz": _read_array,
    ".npy": _read_array,
}


def _numbers(rows: list[list[str]]) -> Points:
    return np.array(rows, dtype=np.float64)


def _indices(words: list[str]) -> list[int]:
    """Vertices of a face; its first word is how many there are."""
    return [int(word) for word in words[1 : 1 + int(words[0])]]
