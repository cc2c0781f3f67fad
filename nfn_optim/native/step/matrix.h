// Matrices whose rows are padded with zeros, and their products.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "lanes.h"
#include "product.h"

namespace nfn {

constexpr long PANEL = 2 * LANES;  // columns that a product works on at once
constexpr int REGISTERS = LANES == 16 ? 32 : 16;
constexpr int BLOCK = REGISTERS == 32 ? 8 : 6;  // rows that it works on at once
constexpr int SIDE = REGISTERS == 32 ? 4 : 2;   // rows and columns that a Gram matrix does

// Rows of `columns` floats, each followed by zeros up to a multiple of `PANEL`.
struct Matrix {
  long rows = 0, columns = 0, stride = 0;
  std::vector<float> data;

  Matrix() = default;
  Matrix(long rows, long columns)
      : rows(rows), columns(columns), stride(padded(columns, PANEL)), data(rows * stride) {}
  float* operator[](long row) { return data.data() + row * stride; }
  const float* operator[](long row) const { return data.data() + row * stride; }
};

// Rows of `a` times a panel `b` of `k` rows.
template <int ROWS>
inline void multiply(const float* a, long a_stride, const float* b, long k, float alpha, float beta,
                     const float* d, long d_stride, float* c, long c_stride) {
  Vec sums[ROWS][2] = {};
  accumulate(sums, k, b, PANEL, [=](long r, long i) { return a[r * a_stride + i]; });
  for (int r = 0; r < ROWS; ++r) {
    const float* from = d + r * d_stride;
    float* to = c + r * c_stride;
    const Vec x = load(from), y = load(from + LANES);
    store(to, alpha * sums[r][0] + beta * x);
    store(to + LANES, alpha * sums[r][1] + beta * y);
  }
}

// `c = alpha a b + beta d`, `a` of the given rows and columns; `c` and `d` may be `b` if it is square
// in rows, since columns are worked on in panels.
inline void multiply(const float* a, long a_stride, long rows, const Matrix& b, float alpha,
                     float beta, const Matrix& d, Matrix& c, int threads) {
  const long k = b.rows, panels = b.stride / PANEL;
  if (2 * rows * k * b.stride < 1000000) threads = 1;
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (long panel = 0; panel < panels; ++panel) {
    std::vector<float> packed(k * PANEL);
    for (long i = 0; i < k; ++i) {
      store(&packed[i * PANEL], load(b[i] + panel * PANEL));
      store(&packed[i * PANEL + LANES], load(b[i] + panel * PANEL + LANES));
    }
    long row = 0;
    for (; row + BLOCK <= rows; row += BLOCK) {
      multiply<BLOCK>(a + row * a_stride, a_stride, packed.data(), k, alpha, beta,
                  d[row] + panel * PANEL, d.stride, c[row] + panel * PANEL, c.stride);
    }
    for (; row < rows; ++row) {
      multiply<1>(a + row * a_stride, a_stride, packed.data(), k, alpha, beta,
                  d[row] + panel * PANEL, d.stride, c[row] + panel * PANEL, c.stride);
    }
  }
}

// `a b`, where `a` is dense.
inline Matrix multiply(const float* a, long rows, const Matrix& b, int threads) {
  Matrix c(rows, b.columns);
  multiply(a, b.rows, rows, b, 1, 0, c, c, threads);
  return c;
}

// `SIDE` rows of `x` from `i` on times `SIDE` from `j` on, to `g`.
inline void gram_block(const Matrix& x, long i, long j, Matrix& g) {
  const long rows = std::min<long>(SIDE, x.rows - i), columns = std::min<long>(SIDE, x.rows - j);
  Vec total[SIDE][SIDE] = {};
  for (long e = 0; e < x.stride; e += LANES) {
    Vec left[SIDE], right[SIDE];
    for (int r = 0; r < SIDE; ++r) {  // the last rows again where there are no more
      left[r] = load(x[std::min(i + r, x.rows - 1)] + e);
      right[r] = load(x[std::min(j + r, x.rows - 1)] + e);
    }
#pragma GCC unroll 4
    for (int r = 0; r < SIDE; ++r) {
#pragma GCC unroll 4
      for (int s = 0; s < SIDE; ++s) total[r][s] += left[r] * right[s];
    }
  }
  for (long r = 0; r < rows; ++r) {
    for (long s = 0; s < columns; ++s) g[i + r][j + s] = g[j + s][i + r] = sum(total[r][s]);
  }
}

// `x x^T`.
inline Matrix gram(const Matrix& x, int threads) {
  Matrix g(x.rows, x.rows);
  if (x.rows * x.rows * x.stride < 1000000) threads = 1;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 1)
  for (long i = 0; i < x.rows; i += SIDE) {
    for (long j = 0; j <= i; j += SIDE) gram_block(x, i, j, g);
  }
  return g;
}

}  // namespace nfn
