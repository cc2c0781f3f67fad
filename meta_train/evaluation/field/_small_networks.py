"""Small networks that rules train as one stack: near what the bundled families contain.

None of them is drawn from a family: they are fixed problems. Data is read when a task is built, not
when it is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...tasks import ModuleTask, Task, load_data, mlp
from ._task import EvaluationTask


def _mlp(data: str, widths: Sequence[int], *, size: int | None = None, batch: int = 64) -> Task:
    """A ReLU MLP that classifies flattened images, averaged to `size` pixels a side if given."""
    return _classifier(lambda: mlp(widths), *_images(data, size, flat=True), batch_size=batch)


def _cnn(data: str, head: Callable[[], Sequence[nn.Module]]) -> Task:
    """Two strided 3x3 convolutions of 8 and 16 channels under a head."""

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            *head(),
        )

    return _classifier(build, *_images(data, None, flat=False), batch_size=64)


class _Residual(nn.Module):
    """Two 3x3 convolutions with batch normalization beside a path without (or with one 1x1)."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = _normalized_conv(channels, out_channels, 3, stride)
        self.second = _normalized_conv(out_channels, out_channels, 3, 1)
        straight = stride == 1 and channels == out_channels
        self.beside = (
            nn.Identity() if straight else _normalized_conv(channels, out_channels, 1, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x).relu())
        return (y + self.beside(x)).relu()


def _normalized_conv(channels: int, out_channels: int, kernel: int, stride: int) -> nn.Module:
    """A convolution and the batch's normalization; running statistics cannot be stacked."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels, track_running_stats=False),
    )


def _normalized_cnn(data: str) -> Task:
    """`_cnn` with batch normalization and a global pool."""

    def build() -> nn.Module:
        return nn.Sequential(
            _normalized_conv(1, 8, 3, 2),
            nn.ReLU(),
            _normalized_conv(8, 16, 3, 2),
            nn.ReLU(),
            *_pool_head(),
        )

    return _classifier(build, *_images(data, None, flat=False), batch_size=64)


def _resnet(data: str) -> Task:
    """A narrow ResNet of two blocks on images averaged to 14x14."""

    def build() -> nn.Module:
        blocks = (_Residual(8, 8, 1), _Residual(8, 16, 2))
        return nn.Sequential(_normalized_conv(1, 8, 3, 1), nn.ReLU(), *blocks, *_pool_head())

    return _classifier(build, *_images(data, 14, flat=False), batch_size=64)


def _pool_head() -> Sequence[nn.Module]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)


def _flatten_head() -> Sequence[nn.Module]:
    return nn.Flatten(), nn.Linear(16 * 7 * 7, 10)


def _classifier(
    build: Callable[[], nn.Module],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    batch_size: int,
) -> Task:
    return ModuleTask(build, F.cross_entropy, train, test_data=test, batch_size=batch_size)


def _images(
    data: str, size: int | None, *, flat: bool
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test images with their labels."""
    images = load_data(data)

    def prepare(x: Tensor) -> Tensor:
        x = x if size is None else F.adaptive_avg_pool2d(x, size)
        return x.flatten(1) if flat else x

    return (prepare(images.x_train), images.y_train), (prepare(images.x_test), images.y_test)


def _digits_autoencoder() -> Task:
    """Digits through a bottleneck of eight neurons, mean squared error."""
    (train, _), (test, _) = _images("digits", None, flat=True)
    widths = (64, 32, 8, 32, 64)
    return ModuleTask(lambda: mlp(widths), F.mse_loss, (train, train), test_data=(test, test))


def _diabetes() -> Task:
    """scikit-learn's diabetes data: ten measurements predict a progression; both standardised."""
    from sklearn.datasets import load_diabetes

    measured, progression = load_diabetes(return_X_y=True)
    columns = np.column_stack([measured, progression])
    table = torch.from_numpy((columns - columns.mean(0)) / columns.std(0)).float()
    table = table[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]
    inputs, targets = table[:, :10], table[:, 10:]
    train, test = (inputs[:354], targets[:354]), (inputs[354:], targets[354:])
    return ModuleTask(lambda: mlp((10, 32, 32, 1)), F.mse_loss, train, test_data=test)


DIGITS = (
    EvaluationTask.from_task("digits-64-32-10", lambda: _mlp("digits", (64, 32, 10))),
    EvaluationTask.from_task("digits-64-128-10", lambda: _mlp("digits", (64, 128, 10))),
    EvaluationTask.from_task("digits-64-32x5-10", lambda: _mlp("digits", (64, *[32] * 5, 10))),
    EvaluationTask.from_task("mnist-784-128-10", lambda: _mlp("mnist", (784, 128, 10))),
    EvaluationTask.from_task(
        "digits-64-32-10-long", lambda: _mlp("digits", (64, 32, 10)), num_steps=5_000
    ),
)

_FASHION = "fashion_mnist"

HELD_OUT = (
    EvaluationTask.from_task("fashion-784-32-10", lambda: _mlp(_FASHION, (784, 32, 10))),
    EvaluationTask.from_task("fashion-784-128-128-10", lambda: _mlp(_FASHION, (784, 128, 128, 10))),
    EvaluationTask.from_task("fashion-784-64x6-10", lambda: _mlp(_FASHION, (784, *[64] * 6, 10))),
    EvaluationTask.from_task("fashion-cnn-pool", lambda: _cnn(_FASHION, _pool_head)),
    EvaluationTask.from_task("fashion-cnn-flatten", lambda: _cnn(_FASHION, _flatten_head)),
    EvaluationTask.from_task("fashion-cnn-batchnorm", lambda: _normalized_cnn(_FASHION)),
    EvaluationTask.from_task("fashion-resnet", lambda: _resnet(_FASHION)),
    EvaluationTask.from_task("digits-autoencoder", _digits_autoencoder),
    EvaluationTask.from_task("diabetes-10-32-32-1", _diabetes),
    EvaluationTask.from_task(
        "fashion-784-32-10-1000-steps", lambda: _mlp(_FASHION, (784, 32, 10)), num_steps=1_000
    ),
    EvaluationTask.from_task(
        "fashion-8x8-64-32-10-10000-steps",
        lambda: _mlp(_FASHION, (64, 32, 10), size=8),
        num_steps=10_000,
    ),
    EvaluationTask.from_task(
        "fashion-784-32-10-batch-16", lambda: _mlp(_FASHION, (784, 32, 10), batch=16)
    ),
    EvaluationTask.from_task(
        "fashion-784-32-10-batch-512", lambda: _mlp(_FASHION, (784, 32, 10), batch=512)
    ),
    EvaluationTask.from_task(
        "fashion-8x8-64-1024-10", lambda: _mlp(_FASHION, (64, 1024, 10), size=8)
    ),
)

# The learned-optimizer task of arXiv 2507.01649 with its own tuning of Adam.
YARDSTICK = (
    EvaluationTask.from_task(
        "fashion-8x8-64-32-10-batch-128",
        lambda: _mlp(_FASHION, (64, 32, 10), size=8, batch=128),
        num_steps=2_000,
        rates=tuple(round(0.0005 * k, 4) for k in range(1, 21)),
        schedules=("constant",),
    ),
)
