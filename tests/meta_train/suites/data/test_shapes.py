"""Shapes have the surfaces they should, and files of one's own become the same clouds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from scipy.stats import kstest
from torch import nn

from meta_train import run_suite
from meta_train.suites.data._shape_classes import SHAPE_CLASSES, _turned, draw_shape, triangles
from meta_train.suites.data._shapes import Shapes, draw_shapes, read_shapes, sample_distances
from meta_train.tasks import Dataset
from nfn_optim import NetworkSpec
from nfn_optim.networks import HeadConfig, StatNN

from ..conftest import smallest

TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
FACES = [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
POINTS = "\n".join("{} {} {}".format(*row) for row in TETRAHEDRON)
TRIANGLES = "\n".join("3 {} {} {}".format(*face) for face in FACES)
FILES = {
    "a.off": f"OFF\n4 4 0\n{POINTS}\n{TRIANGLES}\n",
    "joined.off": f"OFF4 4 0\n{POINTS}\n{TRIANGLES}\n",
    "b.obj": "# a comment\n"
    + "\n".join("v {} {} {}".format(*row) for row in TETRAHEDRON)
    + "\nf 1 2 3\nf 1/1/1 2/2 4//4\nf -4 -2 -1\nf 2 3 4\n",
    "c.ply": "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nelement face 4\n"
    f"end_header\n{POINTS}\n{TRIANGLES}\n",
}


@pytest.mark.parametrize("name", SHAPE_CLASSES)
def test_every_class_fills_its_sphere_and_varies(name: str) -> None:
    first, second = (draw_shape(default_rng(seed), name, 500, noise=0.0) for seed in range(2))
    assert first.shape == (500, 3)
    assert np.linalg.norm(first, axis=1).max() == pytest.approx(0.8)
    assert np.abs(np.sort(first, axis=0) - np.sort(second, axis=0)).max() > 0.02


def test_points_are_even_over_a_turned_profile() -> None:
    area, points = _turned(default_rng(0), [0, 1, 1, 0], [0, 0, 2, 2])  # a closed cylinder
    assert area == pytest.approx(2 * np.pi + 4 * np.pi)
    on_side = (points[:, 1] > 1e-9) & (points[:, 1] < 2 - 1e-9)
    assert on_side.mean() == pytest.approx(2 / 3, abs=0.05)
    bottom = points[points[:, 1] < 1e-9]
    assert kstest((bottom[:, [0, 2]] ** 2).sum(1), "uniform").pvalue > 0.01


def test_points_are_even_over_triangles() -> None:
    corners = np.array([[[0, 0, 0], [2, 0, 0], [0, 1, 0]], [[5, 0, 0], [6, 0, 0], [5, 0, 1]]])
    area, points = triangles(default_rng(0), corners.astype(float), 3000)
    assert area == pytest.approx(1.5)
    first = points[points[:, 0] <= 2]
    assert len(first) / 3000 == pytest.approx(2 / 3, abs=0.03)
    np.testing.assert_allclose(first.mean(0), [2 / 3, 1 / 3, 0], atol=0.03)


def test_classes_come_in_turn_and_the_seed_decides() -> None:
    one, other = draw_shapes(12, 0), draw_shapes(12, 1)
    assert one.labels.tolist() == [*range(10), 0, 1]
    assert torch.equal(one.clouds, draw_shapes(12, 0).clouds)
    assert not torch.equal(one.clouds, other.clouds)


def test_distances_are_those_to_the_nearest_point() -> None:
    shapes = Shapes(
        torch.rand(2, 30, 3, generator=torch.Generator().manual_seed(0)), torch.arange(2)
    )
    places, distances = sample_distances(shapes, 40, seed=0)
    assert places.shape == (2, 40, 3)
    assert places.abs().max() <= 1
    expected = torch.cdist(places, shapes.clouds).min(-1, keepdim=True).values
    torch.testing.assert_close(distances, expected)


def folder_of(path: Path, files: dict[str, str]) -> Path:
    for kind in ("first", "second"):
        (path / kind).mkdir(parents=True)
        for name, text in files.items():
            (path / kind / name).write_text(text)
    return path


def test_meshes_and_clouds_are_read_from_a_folder_for_each_class(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, FILES)
    np.savez(folder / "second" / "d.npz", TETRAHEDRON)
    np.save(folder / "second" / "e.npy", TETRAHEDRON.astype(np.float32))
    (folder / "second" / "f.xyz").write_text(POINTS)
    (folder / "second" / "notes.txt").write_text("not a shape")
    shapes = read_shapes(folder, seed=0)
    assert sorted(shapes.labels.tolist()) == [0] * 4 + [1] * 7
    assert shapes.clouds.shape == (11, 2000, 3)
    for cloud in shapes.clouds:
        assert cloud.norm(dim=1).max() == pytest.approx(0.8)
        low, high = cloud.amin(0), cloud.amax(0)
        torch.testing.assert_close(low, -high)
        on_a_face = ((cloud - low).abs() < 1e-5).any(1)
        slanted = ((cloud - low) / (high - low)).sum(1).sub(1).abs() < 0.1
        assert (on_a_face | slanted).all()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.off", "PLY\n", "a.off is damaged.*start with OFF"),
        ("a.off", "OFF\n4 1 0\n0 0 0\n", "a.off is damaged.*ends early"),
        ("a.off", f"OFF\n4 1 0\n{POINTS}\n3 0 1 9\n", "names a vertex beyond its 4"),
        (
            "a.ply",
            "ply\nformat binary_little_endian 1.0\n",
            "binary_little_endian; save it as ascii",
        ),
        ("a.obj", "v 0 0 zero\n", "a.obj is damaged"),
        ("a.xyz", "1 2\n3 4\n5 6\n", r"shape \(3, 2\), not \(m, 3\)"),
        ("a.xyz", "1 2 nan\n3 4 5\n5 6 6\n", "not finite"),
        ("a.xyz", "1 2 3\n1 2 3\n1 2 3\n", "all the same"),
        ("a.off", f"OFF\n4 1 0\n{POINTS}\n2 0 1\n", "a.off is damaged.*no face has three"),
        ("a.off", f"OFF\n4 1 0\n{POINTS}\n3 0 1 1\n", "a.off is damaged.*faces have no area"),
        ("a.obj", "v\nv 1\nf 1 2\n", "a.obj is damaged"),
        ("a.npz", "nothing", "a.npz is damaged"),
        ("a.npz", "", "a.npz is damaged"),
        ("a.npy", "", "a.npy is damaged"),
        ("a.txt", "1 2 3", "first has no shape. Known endings: .off"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_shapes(folder_of(tmp_path, {name: text}), seed=0)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, np.save])
def test_arrays_that_are_cut_anywhere_are_named(
    tmp_path: Path, save: Callable[[Path, np.ndarray], None]
) -> None:
    folder = folder_of(tmp_path, {"a.xyz": POINTS})
    path = folder / "first" / ("b.npy" if save is np.save else "b.npz")
    save(path, TETRAHEDRON)
    content = path.read_bytes()
    for length in range(0, len(content), 16):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=f"{path.name} is damaged"):
            read_shapes(folder, seed=0)


def stats(spec: NetworkSpec) -> nn.Module:
    return StatNN(spec, HeadConfig((8,), out_features=2))


@pytest.mark.usefixtures("small_suites")
def test_a_folder_of_ones_own_is_classified_by_a_network_of_ones_own(tmp_path: Path) -> None:
    files = {f"{index}.xyz": POINTS for index in range(6)}
    size = replace(
        smallest("shape-classification"),
        num_train=8,  # type: ignore[call-arg]
        num_validation=2,
        num_test=2,
    )
    folder = folder_of(tmp_path / "mine", files)
    result = run_suite("shape-classification", build=stats, data=folder, size=size, out=tmp_path)
    assert (result.data, result.paper) == ("mine", {})
    assert result.picture == tmp_path / "shape-classification-mine-custom.png"
    assert result.picture.exists()
    assert 0 <= result.methods["yours"].metric <= 1
    named = run_suite("shape-classification", build=stats, data=str(folder), size=size)
    assert named.methods == result.methods


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda path: path, "has 0 folders"),
        (lambda path: folder_of(path, {"a.xyz": POINTS}), "2 shapes; this size needs 62"),
        (lambda path: _images(), "reads 3-D shapes, not a Dataset"),
    ],
)
@pytest.mark.usefixtures("small_suites")
def test_data_that_are_no_shapes_are_refused(
    tmp_path: Path, data: Callable[[Path], Path | Dataset], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_suite("shape-classification", methods=["mlp"], data=data(tmp_path), size="tiny")


def _images() -> Dataset:
    images, labels = torch.rand(4, 1, 5, 5), torch.arange(4)
    return Dataset(images, labels, images, labels)


@pytest.mark.usefixtures("small_suites")
def test_other_suites_refuse_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder, but this suite reads images"):
        run_suite("inr-editing", methods=["mlp"], data=tmp_path, size="tiny")
