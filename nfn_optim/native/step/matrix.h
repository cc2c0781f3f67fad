// Matrices whose rows are padded with zeros, and their products.
#pragma once

#include <algorithm>
#include <vector>

#include "lanes.h"
#include "parallel.h"
#include "pool.h"
#include "product.h"
#include "transpose.h"

namespace nfn {

constexpr long PANEL = 2 * LANES;  // columns that a product works on at once
constexpr int REGISTERS = LANES == 16 ? 32 : 16;
constexpr int BLOCK = REGISTERS == 32 ? 8 : 6;  // rows that it works on at once
constexpr long NEAR = 1 << 13;  // floats that the nearest cache holds beside others
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

// Rows that begin every `stride` floats, as columns.
inline Matrix turned(const float* from, long stride, long rows, long columns) {
  Matrix found(columns, rows);
  transpose(from, stride, rows, columns, found[0], found.stride);
  return found;
}

inline Matrix turned(const Matrix& x) { return turned(x[0], x.stride, x.rows, x.columns); }

// Rows of `a` times a panel `b` of `k` rows, which begin every `b_stride` floats.
template <int ROWS>
inline void multiply(const float* a, long a_stride, const float* b, long b_stride, long k,
                     float alpha, float beta, const float* d, long d_stride, float* c,
                     long c_stride) {
  Vec sums[ROWS][2];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) sums[r][0] = sums[r][1] = Vec{};
  accumulate(sums, k, b, b_stride, [=](long r, long i) { return a[r * a_stride + i]; });
#pragma GCC unroll 8
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

// `c = alpha a b + beta d` in the rows from `row` to `rows`, for a panel `b` of `k` rows.
inline void multiply_panel(const float* a, long a_stride, long row, long rows, const float* b,
                           long b_stride, long k, float alpha, float beta, const float* d,
                           long d_stride, float* c, long c_stride) {
  for (; row + BLOCK <= rows; row += BLOCK) {
    multiply<BLOCK>(a + row * a_stride, a_stride, b, b_stride, k, alpha, beta, d + row * d_stride,
                    d_stride, c + row * c_stride, c_stride);
  }
  multiply_rest<BLOCK - 1>(rows - row, a + row * a_stride, a_stride, b, b_stride, k, alpha, beta,
                           d + row * d_stride, d_stride, c + row * c_stride, c_stride);
}

// `c = alpha a b + beta d` in the rows from `first(column)` on, `a` of the given rows and columns; `c`
// and `d` may be `b` if it is square in rows, since columns are worked on in panels, each of them
// copied unless `c` is another matrix and `b` is in the nearest cache as it is.
template <class First>
inline void multiply(const float* a, long a_stride, long rows, const Matrix& b, float alpha,
                     float beta, const Matrix& d, Matrix& c, int threads, First first) {
  const long k = b.rows, panels = padded(b.columns, PANEL) / PANEL;
  if (2 * rows * k * b.stride < 1000000) threads = 1;
  in_parallel(panels, threads, [&](long panel) {
    std::vector<float, Pooled<float>> packed;
    const float* from = b[0] + panel * PANEL;
    long apart = b.stride;
    if (&c == &b || k * b.stride > NEAR) {
      packed.resize(k * PANEL);
      copy(from, apart, k, PANEL, packed.data(), PANEL);
      from = packed.data(), apart = PANEL;
    }
    multiply_panel(a, a_stride, first(panel * PANEL), rows, from, apart, k, alpha, beta,
                   d[0] + panel * PANEL, d.stride, c[0] + panel * PANEL, c.stride);
  });
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

typedef float Four __attribute__((vector_size(16)));

// Four sums over lanes.
NFN_INLINE Four sums(const Vec* x) {
  float parts[4][4], turned[4][4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    Four part[LANES / 4];
    std::memcpy(part, x + i, sizeof(Vec));
#pragma GCC unroll 4
    for (int k = LANES / 4 - 1; k > 0; --k) part[0] += part[k];
    std::memcpy(parts[i], part, sizeof(Four));
  }
  transpose_four(parts[0], 4, turned[0], 4);
  Four rows[4];
  std::memcpy(rows, turned, sizeof(rows));
  return (rows[0] + rows[1]) + (rows[2] + rows[3]);
}

// Inner products of `SIDE` rows of `x` from `i` on with as many of `y` from `j` on, which are as long.
inline void dots(const Matrix& x, long i, const Matrix& y, long j, float (&g)[SIDE][SIDE]) {
  const float *left[SIDE], *right[SIDE];
#pragma GCC unroll 4
  for (int r = 0; r < SIDE; ++r) {  // the last rows again where there are no more
    left[r] = x[std::min(i + r, x.rows - 1)], right[r] = y[std::min(j + r, y.rows - 1)];
  }
  Vec total[SIDE][SIDE];
#pragma GCC unroll 4
  for (int r = 0; r < SIDE; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < SIDE; ++s) total[r][s] = Vec{};
  }
  for (long e = 0; e < x.columns; e += LANES) {
    Vec row[SIDE];
#pragma GCC unroll 4
    for (int s = 0; s < SIDE; ++s) row[s] = load(right[s] + e);
#pragma GCC unroll 4
    for (int r = 0; r < SIDE; ++r) {
      const Vec own = load(left[r] + e);
#pragma GCC unroll 4
      for (int s = 0; s < SIDE; ++s) total[r][s] += own * row[s];
    }
  }
  Vec* all = total[0];
  float* to = g[0];
#pragma GCC unroll 4
  for (int k = 0; k < SIDE * SIDE; k += 4) {
    const Four found = sums(all + k);
    std::memcpy(to + k, &found, sizeof(Four));
  }
}

// `x x^T`.
inline Matrix gram(const Matrix& x, int threads) {
  Matrix g(x.rows, x.rows);
  if (x.rows * x.rows * x.stride < 1000000) threads = 1;
  in_parallel((x.rows + SIDE - 1) / SIDE, threads, [&](long strip) {
    const long i = strip * SIDE;
    for (long j = 0; j <= i; j += SIDE) {
      float block[SIDE][SIDE];
      dots(x, i, x, j, block);
      for (long r = 0; r < std::min<long>(SIDE, x.rows - i); ++r) {
        for (long s = 0; s < std::min<long>(SIDE, x.rows - j); ++s) {
          g[i + r][j + s] = g[j + s][i + r] = block[r][s];
        }
      }
    }
  });
  return g;
}

// Writes inner products of all rows of `x` with those of `y` from `begin` to `end` to these columns
// of `to`.
inline void multiply_turned(const Matrix& x, const Matrix& y, long begin, long end, Matrix& to) {
  for (long i = begin; i < end; i += SIDE) {
    for (long j = 0; j < x.rows; j += SIDE) {
      float block[SIDE][SIDE];
      dots(x, j, y, i, block);
      for (long r = 0; r < std::min<long>(SIDE, x.rows - j); ++r) {
        std::copy_n(block[r], std::min<long>(SIDE, end - i), to[j + r] + i);
      }
    }
  }
}

// `c = a b + d` in `rows` rows, with `k` rows of `b`, which is in the nearer caches; `d` may be `c`.
inline void multiply_near(const float* a, long a_stride, long rows, const float* b, long b_stride,
                          long k, const float* d, long d_stride, float* c, long c_stride,
                          long columns) {
  for (long e = 0; e < columns; e += PANEL) {
    multiply_panel(a, a_stride, 0, rows, b + e, b_stride, k, 1, 1, d + e, d_stride, c + e, c_stride);
  }
}

}  // namespace nfn
