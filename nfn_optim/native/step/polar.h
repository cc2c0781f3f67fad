// Polar factors, as rules/_polar.py has them.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "border.h"
#include "constants.h"
#include "matrix.h"

namespace nfn {

// Rows of a matrix that get a polar factor together; there are no more of them than columns.
struct Band {
  const float* from;
  float* to;  // may be `from`
  long columns;
  std::vector<long> rows;
  double square;  // sum of the squares of all entries

  double cost() const {  // products
    const double n = rows.size();
    return n * n * (3 * columns + 13 * n);
  }
};

struct Polynomial {
  float factor;
  Matrix change;
};

// `factor` and `change` with which `steps` steps make `factor X + change X` of `X`.
inline Polynomial polynomial(Matrix gram, int steps, int threads) {
  const auto [A, B, C] = POLAR_COEFFICIENTS;
  const auto times = [threads](const Matrix& a, const Matrix& b, float alpha, float beta,
                               const Matrix& d) {
    return multiply_symmetric(a, b, alpha, beta, d, threads);
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
  return {factor, std::move(change)};
}

inline void polar_factor(const Band& band, int threads) {
  const long n = band.rows.size(), m = band.columns;
  const float scale = 1 / std::sqrt(static_cast<float>(band.square) + TINY);
  Matrix x(n, m);
  for (long i = 0; i < n; ++i) {
    const float* from = band.from + band.rows[i] * m;
    for (long j = 0; j < m; ++j) x[i][j] = scale * from[j];
  }
  const int at_once = 2 * n <= m ? POLAR_STEPS : 1;
  for (int step = 0; step < POLAR_STEPS; step += at_once) {
    const Polynomial p = polynomial(gram(x, threads), at_once, threads);
    multiply(p.change[0], p.change.stride, n, x, 1, p.factor, x, x, threads);
  }
  const float size = std::sqrt(static_cast<float>(m));
  for (long i = 0; i < n; ++i) {
    const float* from = band.from + band.rows[i] * m;
    float* to = band.to + band.rows[i] * m;
    for (long j = 0; j < m; j += LANES) {
      const Vec there = load(from + j, m - j), polar = size * load(x[i] + j, m - j);
      store(to + j, there == 0 ? Vec{} : polar, m - j);  // what has no momentum stays
    }
  }
}

// Deals the rows of a matrix into bands in turn, in the order of their norms.
inline std::vector<Band> deal(const float* from, float* to, long rows, long columns, long bands) {
  std::vector<double> squares(rows);
  std::vector<long> order(rows);
  for (long i = 0; i < rows; ++i) {
    order[i] = i;
    for (long j = 0; j < columns; ++j) {
      const double entry = from[i * columns + j];
      squares[i] += entry * entry;
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](long i, long j) { return squares[i] > squares[j]; });
  std::vector<Band> dealt(bands, Band{from, to, columns, {}, 0});
  for (long i = 0; i < rows; ++i) {
    dealt[i % bands].rows.push_back(order[i]);
    dealt[i % bands].square += squares[order[i]];
  }
  return dealt;
}

// Those that are a thread's share of the work or more have all threads, one after another.
inline void polar_factors(std::vector<Band> bands, int threads) {
  std::sort(bands.begin(), bands.end(),
            [](const Band& a, const Band& b) { return a.cost() > b.cost(); });
  double total = 0;
  for (const Band& band : bands) total += band.cost();
  const long count = bands.size();
  long next = 0;
  for (; next < count && bands[next].cost() * threads > total; total -= bands[next++].cost()) {
    polar_factor(bands[next], threads);
  }
  Caught caught;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 1)
  for (long i = next; i < count; ++i) caught.run([&] { polar_factor(bands[i], 1); });
  caught.pass_on();
}

}  // namespace nfn
