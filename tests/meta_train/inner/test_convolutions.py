"""Convolutions of stacked networks are what `vmap` makes of them."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import grad, vmap

from meta_train import unroll
from meta_train.inner import _losses
from meta_train.inner._convolutions import OneAfterAnother
from meta_train.tasks import ModuleTask, stack
from nfn_optim import NFNRule
from nfn_optim.native import convolution


def read_again(x, w, b, view=torch.square):
    """What is rectified is also read without that, by a call before and one after."""
    result = F.conv2d(x, w, b)
    viewed = view(result)
    return viewed.sum() + F.relu(result) * result


def squared(x: torch.Tensor) -> torch.Tensor:
    return x * x


def kept_and_rectified(x, w, b):
    result = F.conv2d(x, w, b)
    return result, F.relu(result)


CALLS = {
    "plain": lambda x, w, b: F.conv2d(x, w, b),
    "without bias": lambda x, w, b: F.conv2d(x, w, stride=2, padding=1),
    "unequal sides": lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(0, 1)),
    "dilated": lambda x, w, b: F.conv2d(x, w, b, dilation=2),
    "padded by name": lambda x, w, b: F.conv2d(x, w, b, padding="same"),
    "groups": lambda x, w, b: F.conv2d(x, w[:, :2], b, groups=2),
    "one sample": lambda x, w, b: F.conv2d(x[0], w, b),
    "one axis": lambda x, w, b: F.conv1d(x[..., 0], w[..., 0], b, padding=1),
    "three axes": lambda x, w, b: F.conv3d(x[..., None], w[..., None], b),
    "rectified": lambda x, w, b: F.relu(F.conv2d(x, w, b, stride=2, padding=1)),
    "rectified without bias": lambda x, w, b: F.conv2d(x, w).relu(),
    "rectified in place": lambda x, w, b: F.relu(F.conv2d(x, w, b), inplace=True),
    "rectified twice": lambda x, w, b: torch.relu(F.relu(F.conv2d(x, w, b))),
    "rectified and read again": read_again,
    "read before it is rectified": lambda x, w, b: read_again(x, w, b, torch.flatten),
    "two in a row": lambda x, w, b: F.conv2d(F.relu(F.conv2d(x, w[:4], b[:4])), w, b),
    "two side by side": lambda x, w, b: F.conv2d(x, w, b) - F.conv2d(x, 2 * w, b),
    "another activation": lambda x, w, b: F.conv2d(x, w, b).tanh(),
    "inside of a gradient": lambda x, w, b: grad(lambda z: z.sin().sum())(F.conv2d(x, w, b)),
    "named arguments": lambda x, w, b: torch.conv2d(input=x, weight=w, bias=b, stride=2),
}


def draw(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 5, 4, 6, 6), (2, 8, 4, 3, 3), (2, 8))
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]


def gradients(result, tensors, **options):
    wanted = result.square().sum()
    return torch.autograd.grad(wanted, tensors, allow_unused=True, **options)


def assert_all_close(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            size = float(other.detach().abs().max())
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_and_gradients_are_those_of_vmap(name, dtype):
    tensors = draw(dtype)
    expected = vmap(CALLS[name])(*tensors)
    with OneAfterAnother():
        found = vmap(CALLS[name])(*tensors)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert_all_close(gradients(found, tensors), gradients(expected, tensors))


def test_what_leaves_vmap_is_computed():
    tensors = draw()
    expected = vmap(kept_and_rectified)(*tensors)
    with OneAfterAnother():
        found = vmap(kept_and_rectified)(*tensors)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.usefixtures("native_convolution")
def test_who_reads_behind_the_back_of_torch_finds_no_number():
    scripted = torch.jit.script(squared)
    with OneAfterAnother():
        found = vmap(lambda x, w: scripted(F.conv2d(x, w)).sum())(*draw()[:2])
    assert found.isnan().all()


@pytest.mark.usefixtures("native_convolution")
def test_rectifying_is_part_of_a_native_convolution(monkeypatch):
    calls = []
    forward = convolution.forward

    def counted(*args):
        calls.append(args[-2])
        forward(*args)

    monkeypatch.setattr(convolution, "forward", counted)
    x, w, _ = draw()
    with OneAfterAnother():
        vmap(lambda x, w: F.conv2d(x, w).relu().sum())(x, w)
    assert calls == [True]
    with OneAfterAnother():
        vmap(lambda x, w: F.conv2d(x, w).tanh().sum())(x, w)
    assert calls == [True, False]


def test_meta_gradients_are_those_of_vmap(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 1, 8, 8, generator=generator)
    task = ModuleTask(
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 3, 3, 2, 1), nn.ReLU(), nn.Conv2d(3, 5, 3, 2, 1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)),
        ),
        F.cross_entropy,
        (images, images.flatten(1)[:, :4].argmax(1)),
        batch_size=8,
    )
    networks = [torch.Generator().manual_seed(seed) for seed in range(2)]
    params = stack([task.init(g) for g in networks])
    batches = [stack([task.batch(g) for g in networks]) for _ in range(3)]
    torch.manual_seed(0)
    rule = NFNRule()

    def meta_gradient():
        out = unroll(rule, task.loss, params, batches, rule.init(params, task.spec))
        return torch.autograd.grad(
            out.losses.mean(), list(rule.parameters()), allow_unused=True, materialize_grads=True
        )

    found = meta_gradient()
    monkeypatch.setattr(_losses, "OneAfterAnother", nullcontext)
    expected = meta_gradient()
    assert any(g.abs().max() > 1e-4 for g in expected)
    for one, other in zip(found, expected, strict=True):
        size = float(other.abs().max())
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3 * size)


@pytest.mark.parametrize("axes", [(None, 0, 0), (0, None, None), (0, 0, None), (1, 1, 1)])
def test_any_tensor_may_be_stacked(axes):
    drawn = zip(draw(), axes, strict=True)
    tensors = [x[0] if axis is None else x.movedim(0, axis) for x, axis in drawn]
    expected = vmap(F.conv2d, in_dims=axes)(*tensors)
    with OneAfterAnother():
        found = vmap(F.conv2d, in_dims=axes)(*tensors)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_second_derivatives_are_those_of_vmap():
    tensors = draw(torch.float64)

    def second(result):
        first = gradients(result, tensors, create_graph=True)
        return gradients(torch.cat([g.flatten() for g in first]), tensors)

    expected = second(vmap(F.conv2d)(*tensors))
    with OneAfterAnother():
        found = vmap(F.conv2d)(*tensors)
    assert_all_close(second(found), expected)


@pytest.mark.parametrize("name", ["plain", "rectified"])
def test_second_derivatives_of_native_convolutions_are_those_of_vmap(name):
    tensors, call = draw(), CALLS[name]
    with OneAfterAnother():
        first = gradients(vmap(call)(*tensors), tensors, create_graph=True)
    expected = gradients(vmap(call)(*tensors), tensors, create_graph=True)
    assert_all_close(first, expected)
    ours = gradients(first[1], tensors)
    assert_all_close(ours, gradients(expected[1], tensors))
