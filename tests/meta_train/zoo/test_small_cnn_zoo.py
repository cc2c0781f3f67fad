"""Synthetic files with the layout of the published zoo."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from meta_train.zoo import read_small_cnn_zoo, small_cnn
from meta_train.zoo._small_cnn_zoo import SPLITS

ROWS, STEPS = 40, (0, 86)
SHAPES = {
    "sequential/conv2d/bias:0": (16,),
    "sequential/conv2d/kernel:0": (3, 3, 1, 16),
    "sequential/conv2d_1/bias:0": (16,),
    "sequential/conv2d_1/kernel:0": (3, 3, 16, 16),
    "sequential/conv2d_2/bias:0": (16,),
    "sequential/conv2d_2/kernel:0": (3, 3, 16, 16),
    "sequential/dense/bias:0": (10,),
    "sequential/dense/kernel:0": (16, 10),
}
COLUMNS = (
    *("config.activation", "config.optimizer", "config.w_init", "config.learning_rate"),
    *("config.l2reg", "config.init_std", "config.dropout", "config.train_fraction", "step"),
    *("test_accuracy", "test_loss", "train_accuracy", "train_loss"),
)


def write_layout(folder: Path) -> None:
    lines, start = ["varname,start_idx,end_idx,shape"], 0
    for name, shape in SHAPES.items():
        end = start + int(np.prod(shape))
        lines.append(f'{name},{start},{end},"{shape}"')
        start = end
    (folder / "layout.csv").write_text("\n".join(lines) + "\n")


def write_metrics(folder: Path, columns: tuple[str, ...] = COLUMNS) -> None:
    lines = [",".join(columns)]
    for row in range(ROWS):
        words = ["relu" if row % 4 else "tanh", "adam", "orthogonal"]
        numbers = [1e-3, 1e-5, 0.1, 0.5, 0.25, STEPS[row % 2], row / ROWS, 0.5, 0.9, 0.3]
        known = dict(zip(COLUMNS, [*words, *map(str, numbers)], strict=True))
        lines.append(",".join(known[column] for column in columns))
    with gzip.open(folder / "metrics.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights = np.random.default_rng(0).normal(size=(ROWS, 4970)).astype(np.float32)
    np.save(tmp_path / "weights.npy", weights)
    write_layout(tmp_path)
    write_metrics(tmp_path)
    return tmp_path


def keras_network(row: np.ndarray, images: torch.Tensor) -> torch.Tensor:
    """What a row computes, read in Keras's conventions: kernels (rows, columns, in, out)."""
    parts, start = {}, 0
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        parts[name] = torch.from_numpy(row[start : start + size].copy()).reshape(shape)
        start += size
    x = images.permute(0, 2, 3, 1)
    for layer in ("conv2d", "conv2d_1", "conv2d_2"):
        windows = x.unfold(1, 3, 2).unfold(2, 3, 2)  # (b, h, w, in, 3, 3)
        kernel = parts[f"sequential/{layer}/kernel:0"]
        x = torch.einsum("bhwijk,jkio->bhwo", windows, kernel) + parts[f"sequential/{layer}/bias:0"]
        x = F.relu(x)
    return x.mean((1, 2)) @ parts["sequential/dense/kernel:0"] + parts["sequential/dense/bias:0"]


def test_networks_compute_what_their_rows_describe(folder: Path) -> None:
    zoo = read_small_cnn_zoo(folder, step=None)
    rows = np.load(folder / "weights.npy")
    images = torch.rand(3, 1, 15, 15)
    module = small_cnn()
    for index in range(3):
        row = round(zoo.labels["test_accuracy"][index].item() * ROWS)
        module.load_state_dict(zoo.features.to_state_dicts()[index])
        torch.testing.assert_close(
            module(images), keras_network(rows[row], images), rtol=1e-4, atol=1e-3
        )


def test_the_last_checkpoint_is_split_as_the_reference_splits_it(folder: Path) -> None:
    zoo = read_small_cnn_zoo(folder)
    assert len(zoo) == ROWS // 2
    assert (zoo.labels["step"] == 86).all()
    assert zoo.categories["split"] == SPLITS
    assert [int((zoo.labels["split"] == part).sum()) for part in range(3)] == [8, 2, 10]
    assert (zoo.labels["split"][10:] == 2).all()


def test_labels_are_numbers_with_names_for_categories(folder: Path) -> None:
    zoo = read_small_cnn_zoo(folder, step=0)
    activation = zoo.labels["activation"]
    row = (zoo.labels["test_accuracy"] * ROWS).round().long()
    assert torch.equal(activation == zoo.categories["activation"].index("tanh"), row % 4 == 0)
    assert (zoo.labels["lr"] == 1e-3).all()


def test_an_order_file_decides_the_order(folder: Path) -> None:
    order = [*range(ROWS)][::-1]
    path = folder / "cifar10_split.csv"
    path.write_text("\n".join(map(str, [0, *order])))
    zoo = read_small_cnn_zoo(folder, step=None, order=path)
    assert (zoo.labels["test_accuracy"] * ROWS).round().tolist() == order
    path.write_text("\n".join(map(str, order[:-1])))
    with pytest.raises(ValueError, match="each of the 40 rows"):
        read_small_cnn_zoo(folder, order=path)


def test_networks_that_are_not_finite_are_left_out(folder: Path) -> None:
    weights = np.load(folder / "weights.npy")
    weights[1, 7] = np.nan
    np.save(folder / "weights.npy", weights)
    assert len(read_small_cnn_zoo(folder, step=None)) == ROWS - 1


@pytest.mark.parametrize("name", ["weights.npy", "metrics.csv.gz", "layout.csv"])
def test_missing_and_truncated_files_are_named(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{name} is truncated"):
        read_small_cnn_zoo(folder)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{name} is truncated"):
        read_small_cnn_zoo(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        read_small_cnn_zoo(folder)


@pytest.mark.parametrize("shape", [(ROWS, 4000), (ROWS - 1, 4970), (4970,)])
def test_another_number_of_weights_is_refused(folder: Path, shape: tuple[int, ...]) -> None:
    np.save(folder / "weights.npy", np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"holds float32 numbers .* have \(40, 4970\)"):
        read_small_cnn_zoo(folder)


def test_a_missing_column_is_named(folder: Path) -> None:
    write_metrics(folder, tuple(c for c in COLUMNS if c != "config.dropout"))
    with pytest.raises(ValueError, match="no column config.dropout"):
        read_small_cnn_zoo(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.001", "", "config.learning_rate is '', no number"),
        ("0.001", "\0", "no number|NUL"),  # Python 3.10 reads no such line
        ("0.001", "1e-3e", "config.learning_rate is '1e-3e', no number"),
        (",orthogonal", "", "train_loss is None, no number"),
    ],
)
def test_the_file_of_a_broken_number_is_named(
    folder: Path, old: str, new: str, message: str
) -> None:
    path = folder / "metrics.csv.gz"
    with gzip.open(path, "rt") as file:
        first, second, *rest = file.read().splitlines(keepends=True)
    with gzip.open(path, "wt") as file:
        file.write("".join([first, second.replace(old, new), *rest]))
    with pytest.raises(ValueError, match=rf"metrics\.csv\.gz(, line 2,)? is trunc.*({message})"):
        read_small_cnn_zoo(folder)


def test_the_line_without_a_last_word_is_named(folder: Path) -> None:
    write_metrics(folder, (*(c for c in COLUMNS if c != "config.w_init"), "config.w_init"))
    path = folder / "metrics.csv.gz"
    with gzip.open(path, "rt") as file:
        lines = file.read().removesuffix(",orthogonal\n")
    with gzip.open(path, "wt") as file:
        file.write(lines)
    with pytest.raises(ValueError, match=r"metrics\.csv\.gz, line 41, .* its end is missing"):
        read_small_cnn_zoo(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [("conv2d_2", "conv2d_7"), ("(16,)", "(8,)"), ("start_idx", "begin"), (",0,16,", ",0,17,")],
)
def test_another_layout_is_refused(folder: Path, old: str, new: str) -> None:
    path = folder / "layout.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match="not of the Small CNN Zoo"):
        read_small_cnn_zoo(folder)


def test_a_step_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="no network at step 5"):
        read_small_cnn_zoo(folder, step=5)
