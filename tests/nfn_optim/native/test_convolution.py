"""Native convolutions of many networks are those of torch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nfn_optim.native import convolution, pointer

pytestmark = pytest.mark.usefixtures("native_convolution")


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def by_torch(input, weight, bias, stride, padding):
    results = [
        torch.conv2d(x, w, b, stride, padding) for x, w, b in zip(input, weight, bias, strict=True)
    ]
    return torch.stack(results)


def convolve(input, weight, bias, stride, padding, *, is_rectified=False):
    result = convolution.empty_result(input, weight, stride, padding)
    convolution.forward(input, weight, bias, stride, padding, is_rectified, pointer(result))
    return result


@given(
    samples=st.sampled_from([1, 5, 16, 37]),
    channels=st.integers(1, 18),
    outs=st.integers(1, 18),
    sides=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    is_rectified=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_results_and_gradients_are_those_of_torch(
    samples, channels, outs, sides, kernel, stride, padding, is_rectified
):
    input = draw(2, samples, channels, *sides).requires_grad_()
    weight = draw(2, outs, channels, *kernel).requires_grad_()
    bias = draw(2, outs).requires_grad_()
    expected = by_torch(input, weight, bias, stride, padding)
    expected = expected.relu() if is_rectified else expected
    given = (input.detach(), weight.detach(), bias.detach())
    assert convolution.can_convolve(*given, stride, padding)
    result = convolve(*given, stride, padding, is_rectified=is_rectified)
    torch.testing.assert_close(result, expected.detach(), rtol=1e-4, atol=1e-4)
    adjoint = draw(*expected.shape, seed=1)
    theirs = torch.autograd.grad(expected, (input, weight, bias), adjoint)
    known = result if is_rectified else None
    for of_input in (True, False):
        ours = convolution.backward(adjoint, *given[:2], known, stride, padding, of_input=of_input)
        assert (ours[0] is None) is not of_input
        for one, other in zip(ours, theirs, strict=True):
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-3)


def test_any_strides_are_read_on_the_way_back():
    input, weight, adjoint = draw(2, 3, 4, 6, 6), draw(2, 5, 4, 3, 3), draw(2, 3, 5, 6, 6)
    turned = [x.movedim(1, -1).contiguous().movedim(-1, 1) for x in (adjoint, input, weight)]
    expected = convolution.backward(adjoint, input, weight, None, 1, 1, of_input=True)
    found = convolution.backward(*turned, None, 1, 1, of_input=True)
    assert all(map(torch.equal, found, expected))


def test_what_is_no_number_stays_so():
    input, weight = torch.zeros(1, 3, 1, 4, 4), torch.ones(1, 2, 1, 3, 3)
    input[0, 1, 0, 0, 0] = torch.inf
    weight[0, 1] = -1
    weight[0, :, 0, 0, 1] = torch.nan
    expected = by_torch(input, weight, torch.zeros(1, 2), 1, 1).relu()
    assert expected.isnan().any()
    found = convolve(input, weight, None, 1, 1, is_rectified=True)
    torch.testing.assert_close(found, expected, equal_nan=True)
    ours = convolution.backward(torch.ones_like(found), input, weight, found, 1, 1, of_input=True)
    assert ours[1].isnan().any()


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
            draw(2, 3, 5, 4, 3), draw(2, 3, 4, 6, 6), draw(2, 5, 4, 3, 3), None, 1, 0, of_input=True
        )


def test_what_is_below_normal_numbers_is_zero():
    """Processors take a hundred times as long for such numbers."""
    input, weight, bias = draw(1, 2, 3, 5, 5), 1e-39 * draw(1, 4, 3, 3, 3), torch.zeros(1, 4)
    assert not convolve(input, weight, bias, 1, 0).any()
    adjoint = draw(1, 2, 4, 3, 3)
    of_input, _, _ = convolution.backward(adjoint, input, weight, None, 1, 0, of_input=True)
    assert not of_input.any()
    assert torch.tensor(1e-39) * 0.5 > 0, "outside nothing has changed"
