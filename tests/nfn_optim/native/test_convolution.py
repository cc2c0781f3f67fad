"""Native convolutions of many networks are those of torch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nfn_optim.native import convolution

pytestmark = pytest.mark.usefixtures("native_convolution")


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def by_torch(input, weight, bias, stride, padding):
    results = [
        torch.conv2d(x, w, b, stride, padding) for x, w, b in zip(input, weight, bias, strict=True)
    ]
    return torch.stack(results)


@given(
    samples=st.sampled_from([1, 5, 16, 37]),
    channels=st.integers(1, 18),
    outs=st.integers(1, 18),
    sides=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
)
@settings(max_examples=25, deadline=None)
def test_results_and_gradients_are_those_of_torch(
    samples, channels, outs, sides, kernel, stride, padding
):
    input = draw(2, samples, channels, *sides).requires_grad_()
    weight = draw(2, outs, channels, *kernel).requires_grad_()
    bias = draw(2, outs).requires_grad_()
    expected = by_torch(input, weight, bias, stride, padding)
    given = (input.detach(), weight.detach(), bias.detach())
    assert convolution.can_convolve(*given, stride, padding)
    result = convolution.forward(*given, stride, padding)
    torch.testing.assert_close(result, expected.detach(), rtol=1e-4, atol=1e-4)
    adjoint = draw(*expected.shape, seed=1)
    theirs = torch.autograd.grad(expected, (input, weight, bias), adjoint)
    for of_input in (True, False):
        ours = convolution.backward(adjoint, *given[:2], stride, padding, of_input=of_input)
        assert (ours[0] is None) is not of_input
        for one, other in zip(ours, theirs, strict=True):
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-3)


def test_any_strides_are_read():
    input, weight, bias = draw(2, 3, 4, 6, 6), draw(2, 5, 4, 3, 3), draw(2, 5)
    expected = convolution.forward(input, weight, bias, 1, 1)
    turned = input.movedim(1, -1).contiguous().movedim(-1, 1)
    assert torch.equal(convolution.forward(turned, weight, bias, 1, 1), expected)


@pytest.mark.parametrize(
    ("input", "weight", "bias"),
    [
        (draw(2, 3, 4, 6, 6).double(), draw(2, 5, 4, 3, 3).double(), None),
        (draw(2, 3, 4, 6, 6), draw(2, 5, 2, 3, 3), None),
        (draw(2, 3, 4, 6, 6), draw(3, 5, 4, 3, 3), None),
        (draw(2, 3, 4, 6, 6), draw(2, 5, 4, 3, 3), draw(2, 4)),
        (draw(2, 3, 4, 6), draw(2, 5, 4, 3), None),
    ],
    ids=["type", "channels", "networks", "bias", "axes"],
)
def test_what_does_not_fit_is_not_read(input, weight, bias):
    assert not convolution.can_convolve(input, weight, bias, 1, 0)


@pytest.mark.parametrize(
    ("samples", "side", "stride", "padding"),
    [(0, 6, 1, 0), (3, 2, 1, 0), (3, 2, 2, 0), (3, 6, 0, 0), (3, 6, 1, -1)],
    ids=["no samples", "small", "small for its stride", "stride", "padding"],
)
def test_what_has_no_result_is_not_computed(samples, side, stride, padding):
    input, weight = draw(2, samples, 4, side, side), draw(2, 5, 4, 3, 3)
    assert not convolution.can_convolve(input, weight, None, stride, padding)


def test_an_adjoint_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"adjoint must be float32 of shape \(2, 3, 5, 4, 4\)"):
        convolution.backward(
            draw(2, 3, 5, 4, 3), draw(2, 3, 4, 6, 6), draw(2, 5, 4, 3, 3), 1, 0, of_input=True
        )
