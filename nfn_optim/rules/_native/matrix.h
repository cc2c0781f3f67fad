// Matrices whose rows are padded with zeros, and their products.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "lanes.h"

namespace nfn {

constexpr long PANEL = 2 * LANES;  // columns that a product works on at once

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
  Vec left[ROWS] = {}, right[ROWS] = {};
  for (long i = 0; i < k; ++i) {
    const Vec x = load(b + i * PANEL), y = load(b + i * PANEL + LANES);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const float factor = a[r * a_stride + i];
      left[r] += factor * x;
      right[r] += factor * y;
    }
  }
  for (int r = 0; r < ROWS; ++r) {
    const float* from = d + r * d_stride;
    float* to = c + r * c_stride;
    const Vec x = load(from), y = load(from + LANES);
    store(to, alpha * left[r] + beta * x);
    store(to + LANES, alpha * right[r] + beta * y);
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
    for (; row + 8 <= rows; row += 8) {
      multiply<8>(a + row * a_stride, a_stride, packed.data(), k, alpha, beta,
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

// `x x^T`, in blocks of four rows by four.
inline Matrix gram(const Matrix& x, int threads) {
  Matrix g(x.rows, x.rows);
  const long blocks = (x.rows + 3) / 4;
  if (x.rows * x.rows * x.stride < 1000000) threads = 1;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 1)
  for (long block = 0; block < blocks; ++block) {
    const long i = 4 * block;
    for (long j = 0; j <= i + 3 && j < x.rows; j += 4) {
      const long rows = std::min(4L, x.rows - i), columns = std::min(4L, x.rows - j);
      Vec total[4][4] = {};
      if (rows == 4 && columns == 4) {
        for (long e = 0; e < x.stride; e += LANES) {
          Vec left[4], right[4];
          for (int r = 0; r < 4; ++r) left[r] = load(x[i + r] + e), right[r] = load(x[j + r] + e);
#pragma GCC unroll 4
          for (int r = 0; r < 4; ++r) {
#pragma GCC unroll 4
            for (int s = 0; s < 4; ++s) total[r][s] += left[r] * right[s];
          }
        }
      } else {
        for (long e = 0; e < x.stride; e += LANES) {
          for (long r = 0; r < rows; ++r) {
            for (long s = 0; s < columns; ++s) {
              total[r][s] += load(x[i + r] + e) * load(x[j + s] + e);
            }
          }
        }
      }
      for (long r = 0; r < rows; ++r) {
        for (long s = 0; s < columns; ++s) g[i + r][j + s] = sum(total[r][s]);
      }
    }
  }
  for (long i = 0; i < x.rows; ++i) {
    for (long j = 0; j < i; ++j) g[j][i] = g[i][j];
  }
  return g;
}

}  // namespace nfn
