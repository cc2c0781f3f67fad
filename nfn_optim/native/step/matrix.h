// Matrices whose rows are padded with zeros, and their products.
#pragma once

#include <algorithm>
#include <vector>

#include "border.h"
#include "lanes.h"
#include "pool.h"
#include "product.h"
#include "transpose.h"

namespace nfn {

constexpr long PANEL = 2 * LANES;  // columns that a product works on at once
constexpr int REGISTERS = LANES == 16 ? 32 : 16;
constexpr int BLOCK = REGISTERS == 32 ? 8 : 6;  // rows that it works on at once
constexpr int SIDE = REGISTERS == 32 ? 4 : 2;   // rows and columns that a Gram matrix does

// Rows of `columns` floats, each followed by zeros up to a multiple of `PANEL`: an odd one, so that
// entries below each other do not share the few places of the cache that one address has.
struct Matrix {
  long rows = 0, columns = 0, stride = 0;
  std::vector<float, Pooled<float>> data;

  Matrix() = default;
  Matrix(long rows, long columns)
      : rows(rows), columns(columns), stride((padded(columns, PANEL) / PANEL | 1) * PANEL),
        data(rows * stride) {}
  float* operator[](long row) { return data.data() + row * stride; }
  const float* operator[](long row) const { return data.data() + row * stride; }
};

// Copies `rows` of `columns` floats, which begin every `stride` floats.
inline void copy(const float* from, long from_stride, long rows, long columns, float* to,
                 long to_stride) {
  for (long i = 0; i < rows; ++i) std::copy_n(from + i * from_stride, columns, to + i * to_stride);
}

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

// The same for `rows` rows, at most `MOST`.
template <int MOST, class... Arguments>
inline void multiply_rest(long rows, Arguments... arguments) {
  if constexpr (MOST > 0) {
    if (rows == MOST) return multiply<MOST>(arguments...);
    multiply_rest<MOST - 1>(rows, arguments...);
  }
}

// `c = alpha a b + beta d` in the rows from `first(column)` on, `a` of the given rows and columns; `c`
// and `d` may be `b` if it is square in rows, since columns are worked on in panels.
template <class First>
inline void multiply(const float* a, long a_stride, long rows, const Matrix& b, float alpha,
                     float beta, const Matrix& d, Matrix& c, int threads, First first) {
  const long k = b.rows, panels = padded(b.columns, PANEL) / PANEL;
  if (2 * rows * k * b.stride < 1000000) threads = 1;
  const auto multiply_panel = [&](long panel) {
    std::vector<float, Pooled<float>> packed(k * PANEL);
    for (long i = 0; i < k; ++i) {
      store(&packed[i * PANEL], load(b[i] + panel * PANEL));
      store(&packed[i * PANEL + LANES], load(b[i] + panel * PANEL + LANES));
    }
    long row = first(panel * PANEL);
    for (; row + BLOCK <= rows; row += BLOCK) {
      multiply<BLOCK>(a + row * a_stride, a_stride, packed.data(), k, alpha, beta,
                  d[row] + panel * PANEL, d.stride, c[row] + panel * PANEL, c.stride);
    }
    multiply_rest<BLOCK - 1>(rows - row, a + row * a_stride, a_stride, packed.data(), k, alpha, beta,
                             d[row] + panel * PANEL, d.stride, c[row] + panel * PANEL, c.stride);
  };
  Caught caught;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 1)
  for (long panel = 0; panel < panels; ++panel) caught.run([&] { multiply_panel(panel); });
  caught.pass_on();
}

// The same in all rows.
inline void multiply(const float* a, long a_stride, long rows, const Matrix& b, float alpha,
                     float beta, const Matrix& d, Matrix& c, int threads) {
  multiply(a, a_stride, rows, b, alpha, beta, d, c, threads, [](long) { return 0L; });
}

// The same for symmetric matrices that commute, in little more than half the products.
inline Matrix multiply_symmetric(const Matrix& a, const Matrix& b, float alpha, float beta,
                                 const Matrix& d, int threads) {
  const long n = a.rows;
  Matrix c(n, n);
  multiply(a[0], a.stride, n, b, alpha, beta, d, c, threads, [](long column) { return column; });
  for (long end = PANEL; end < n; end += PANEL) {
    const long begin = end - PANEL;
    transpose(c[end] + begin, c.stride, n - end, PANEL, c[begin] + end, c.stride);
  }
  return c;
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
  for (long e = 0; e < x.columns; e += LANES) {
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
