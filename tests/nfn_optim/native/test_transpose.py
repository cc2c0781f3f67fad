"""A matrix and the same the other way round, of any size and anywhere in memory."""

import ctypes

import pytest
import torch

pytestmark = pytest.mark.usefixtures("native_step")

_SOURCE = """
#include "transpose.h"
extern "C" void turn(const float* from, long stride, long rows, long columns, float* to,
                     long other) {
  nfn::transpose(from, stride, rows, columns, to, other);
}
"""


@pytest.fixture(scope="module")
def library(compiled):
    return compiled(_SOURCE)


def test_rows_become_columns_and_nothing_else_changes(library):
    sizes = [*range(9), 15, 16, 17, 33]
    for rows, columns in ((r, c) for r in sizes for c in sizes):
        whole, other = torch.randn(rows + 1, columns + 3), torch.zeros(columns + 1, rows + 5)
        numbers = [
            ctypes.c_void_p(whole.data_ptr()),
            *map(ctypes.c_long, (whole.shape[1], rows, columns)),
            ctypes.c_void_p(other.data_ptr()),
            ctypes.c_long(other.shape[1]),
        ]
        library.turn(*numbers)
        expected = torch.zeros_like(other)
        expected[:columns, :rows] = whole[:rows, :columns].T
        assert torch.equal(other, expected), (rows, columns)
