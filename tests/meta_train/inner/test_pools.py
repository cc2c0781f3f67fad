"""Means of windows of stacked images are those of torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import vmap

from meta_train.inner._convolutions import OneAfterAnother

SIZES = [1, 2, (2, 3), (None, 1), (3, None), [2, 2], 7]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "shape", [(2, 3, 4, 7, 5), (2, 4, 7, 5), (2, 3, 4, 5, 7, 5), (2, 3, 20, 20)], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_means_and_gradients_are_those_of_torch(size, shape, dtype):
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    images.requires_grad_()
    pool = nn.AdaptiveAvgPool2d(size)
    inner = pool if len(shape) < 6 else vmap(pool)
    expected = vmap(inner)(images)
    with OneAfterAnother():
        found = vmap(inner)(images)
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(x.square().sum(), images) for x in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_what_is_not_stacked_is_pooled_as_ever():
    images = torch.rand(3, 4, 6, 6)
    expected = F.adaptive_avg_pool2d(images, 2)
    with OneAfterAnother():
        assert torch.equal(F.adaptive_avg_pool2d(images, 2), expected)
        with pytest.raises(RuntimeError):
            F.adaptive_avg_pool2d(images[0, 0], 2)
