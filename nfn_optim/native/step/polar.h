// The polar factor of a matrix, as `_polar.py` has it.
#pragma once

#include <iterator>

#include "constants.h"
#include "matrix.h"
#include "parameter.h"

namespace nfn {

struct Polynomial {
  float factor;
  Matrix change;
};

// `factor` and `change` with which `steps` steps make `factor X + change X` of `X`.
inline Polynomial polynomial(Matrix gram, int steps, int threads) {
  const auto [A, B, C] = POLAR_COEFFICIENTS;
  const long n = gram.rows;
  const auto times = [&](const Matrix& a, const Matrix& b, float alpha, float beta,
                         const Matrix& d) {
    Matrix c(n, n);
    multiply(a[0], a.stride, n, b, alpha, beta, d, c, threads);
    return c;
  };
  float factor = A;
  Matrix step = times(gram, gram, C, B, gram), change = step;
  for (int i = 1; i < steps; ++i) {
    gram = times(step, gram, 1, A, gram);
    gram = times(gram, step, 1, A, gram);
    step = times(gram, gram, C, B, gram);
    Matrix base = change;
    for (size_t e = 0; e < base.data.size(); ++e) base.data[e] += step.data[e] * (factor / A);
    change = times(step, change, 1, A, base);
    factor *= A;
  }
  return {factor, change};
}

// Writes the polar factor of `from`, `rows` by `columns`, to `to`.
inline void polar_factor(const float* from, long rows, long columns, float* to, int threads) {
  const bool wide = rows <= columns;
  const long n = std::min(rows, columns), m = std::max(rows, columns);
  Matrix x(n, m);
  double square = 0;
  for (long i = 0; i < rows * columns; ++i) square += static_cast<double>(from[i]) * from[i];
  const float scale = 1 / std::sqrt(static_cast<float>(square) + TINY);
  for (long i = 0; i < n; ++i) {
    float* row = x[i];
    for (long j = 0; j < m; ++j) row[j] = scale * (wide ? from[i * m + j] : from[j * n + i]);
  }
  const auto iterate = [&](const int* begin, const int* end) {
    for (; begin != end; ++begin) {
      const Polynomial p = polynomial(gram(x, threads), *begin, threads);
      multiply(p.change[0], p.change.stride, n, x, 1, p.factor, x, x, threads);
    }
  };
  m > 2 * n ? iterate(std::begin(OBLONG), std::end(OBLONG))
            : iterate(std::begin(SQUARE), std::end(SQUARE));
  const float size = std::sqrt(static_cast<float>(m));
  for (long i = 0; i < n; ++i) {
    const float* row = x[i];
    for (long j = 0; j < m; ++j) to[wide ? i * m + j : j * n + i] = size * row[j];
  }
}

// Copies one block between a parameter and a dense matrix of its own.
template <class Copy>
inline void on_block(const Parameter& p, const long* at, Copy copy) {
  const bool is_kernel = !p.is_weight();  // a row a neuron
  const long all[] = {p.neurons(), is_kernel ? 1 : p.columns, p.taps};
  const long rows = all[0] / p.blocks[0], columns = all[1] / p.blocks[1];
  const long taps = all[2] / p.blocks[2];
  for (long i = 0; i < rows; ++i) {
    for (long j = 0; j < columns; ++j) {
      const long row = at[0] * rows + i, column = at[1] * columns + j;
      copy((row * all[1] + column) * all[2] + at[2] * taps, (i * columns + j) * taps, taps);
    }
  }
}

// Finds the direction of a parameter: the polar factor of the momentum of each block.
inline void point(Parameter& p, int threads) {
  p.direction.reset(new float[p.entries()]);
  float* to = p.direction.get();
  const long blocks = p.blocks[0] * p.blocks[1] * p.blocks[2], size = p.entries() / blocks;
  const long rows = p.neurons() / p.blocks[0];
  if (blocks == 1) return polar_factor(p.momenta, rows, size / rows, to, threads);
  std::vector<float> block(size);
  for (long b = 0; b < blocks; ++b) {
    const long at[] = {b / (p.blocks[1] * p.blocks[2]), b / p.blocks[2] % p.blocks[1],
                       b % p.blocks[2]};
    on_block(p, at, [&](long from, long e, long n) {
      std::copy_n(p.momenta + from, n, block.data() + e);
    });
    polar_factor(block.data(), rows, size / rows, block.data(), threads);
    on_block(p, at, [&](long e, long from, long n) { std::copy_n(block.data() + from, n, to + e); });
  }
}

}  // namespace nfn
