"""Functions of whole registers are exact to a few bits, whatever the compiler reorders."""

import ctypes
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.usefixtures("native_step")

_SOURCE = """
#include "lanes.h"
using namespace nfn;
extern "C" void tanh_of(const float* x, float* y, long n) {
  for (long i = 0; i < n; i += LANES) store(y + i, tanh(load(x + i)));
}
extern "C" void exp_of(const float* x, float* y, long n) {
  for (long i = 0; i < n; i += LANES) store(y + i, exp(load(x + i)));
}
extern "C" void normal_of(const float* x, float* y, long n) {
  for (long i = 0; i < n; i += LANES) store(y + i, normal_below(load(x + i)));
}
extern "C" void log_of(const float* x, float* y, long n) {
  for (long i = 0; i < n; i += LANES) store(y + i, log(load(x + i)));
}
extern "C" void sin_of(const float* x, float* y, long n) {
  Vec s, c;
  for (long i = 0; i < n; i += LANES) sine(load(x + i), s, c), store(y + i, s);
}
extern "C" void cos_of(const float* x, float* y, long n) {
  Vec s, c;
  for (long i = 0; i < n; i += LANES) sine(load(x + i), s, c), store(y + i, c);
}
"""

Function = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def functions(compiled: Callable[[str], ctypes.CDLL]) -> Callable[[str], Function]:
    """Of numbers `(n,)`, `n` a multiple of 16."""
    library = compiled(_SOURCE)

    def named(name: str) -> Function:
        def call(x: Tensor) -> Tensor:
            y, pointer = torch.empty_like(x), ctypes.c_void_p
            getattr(library, f"{name}_of")(
                pointer(x.data_ptr()), pointer(y.data_ptr()), ctypes.c_long(len(x))
            )
            return y

        return call

    return named


def both_signs(largest: float, smallest: float = 1e-30) -> Tensor:
    """Numbers of all sizes, zero, and as many evenly spaced."""
    sizes = torch.logspace(*torch.tensor([smallest, largest]).log10().tolist(), 1 << 16)
    sizes = torch.cat([sizes, torch.linspace(0, largest, 1 << 16)])
    return torch.cat([-sizes, sizes])


@pytest.mark.parametrize(("name", "exact"), [("sin", torch.sin), ("cos", torch.cos)])
@pytest.mark.parametrize(("largest", "tolerance"), [(30.0, 2e-7), (2e3, 2e-7), (8e3, 1e-6)])
def test_sine_is_exact_far_from_zero(
    functions: Callable[[str], Function],
    name: str,
    exact: Function,
    largest: float,
    tolerance: float,
) -> None:
    x = both_signs(largest)
    error = (functions(name)(x) - exact(x.double())).abs().max()
    assert error < tolerance


@pytest.mark.parametrize(
    ("name", "exact", "x", "tolerance"),
    [
        ("tanh", torch.tanh, both_signs(100.0), 5e-7),
        ("tanh", torch.tanh, both_signs(1.0), 5e-7),
        ("sin", torch.sin, both_signs(1.5), 5e-7),
        ("exp", torch.exp, both_signs(10.0), 2e-6),
        ("log", torch.log, both_signs(1e30)[-(1 << 17) :].clamp(min=1e-30), 5e-7),
    ],
    ids=["tanh", "tanh near zero", "sine near zero", "exp", "log"],
)
def test_functions_are_exact_to_a_few_bits(
    functions: Callable[[str], Function], name: str, exact: Function, x: Tensor, tolerance: float
) -> None:
    expected = exact(x.double())
    error = (functions(name)(x) - expected).abs()
    assert (error <= tolerance * expected.abs()).all()


def test_the_normal_distribution_is_exact(functions: Callable[[str], Function]) -> None:
    for x in (both_signs(10.0), both_signs(3e38)):
        error = (functions("normal")(x) - torch.special.ndtr(x.double())).abs()
        assert error.max() < 4e-7


@pytest.mark.parametrize("largest", [1e6, 1e30, 3e38])
def test_functions_stay_bounded(functions: Callable[[str], Function], largest: float) -> None:
    x = both_signs(largest)
    for name in ("tanh", "sin", "cos"):
        assert (functions(name)(x).abs() <= 1 + 1e-6).all(), name
