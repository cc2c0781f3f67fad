// Polar factors, as rules/_polar.py has them.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "constants.h"
#include "matrix.h"
#include "parallel.h"

namespace nfn {

// Rows of a matrix that get a polar factor together; there are no more of them than columns.
struct Band {
  Matrix* of;
  std::vector<long> chosen;
  double square;  // sum of the squares of all entries

  bool is_all() const { return static_cast<long>(chosen.size()) == of->rows; }

  double cost() const {  // products
    const double n = chosen.size();
    return n * n * (3 * of->columns + 13 * n);
  }
};

// Added up in double precision by eight lanes, which keeps a processor busy.
template <class T>
inline double inner_product(const T* x, const T* y, long count) {
  constexpr long WIDE = 8;
  double lanes[WIDE] = {}, rest = 0;
  long e = 0;
  for (; e + WIDE <= count; e += WIDE) {
    for (long i = 0; i < WIDE; ++i) lanes[i] += static_cast<double>(x[e + i]) * y[e + i];
  }
  for (; e < count; ++e) rest += static_cast<double>(x[e]) * y[e];
  for (double lane : lanes) rest += lane;
  return rest;
}

inline double sum_of_squares(const float* x, long count) { return inner_product(x, x, count); }

// Of each row.
inline std::vector<double> sums_of_squares(const Matrix& x) {
  std::vector<double> found;
  for (long i = 0; i < x.rows; ++i) found.push_back(sum_of_squares(x[i], x.columns));
  return found;
}

// Rows in the order of such sums.
inline std::vector<long> largest_first(const std::vector<double>& squares) {
  std::vector<long> order(squares.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](long i, long j) { return squares[i] > squares[j]; });
  return order;
}

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

// Makes a matrix, of which the sum of squares is known, its polar factor.
inline void make_polar(Matrix& x, double square, int threads) {
  const long n = x.rows, m = x.columns;
  const float scale = 1 / std::sqrt(static_cast<float>(square) + TINY);
  for (float& entry : x.data) entry *= scale;
  const int at_once = 2 * n <= m ? POLAR_STEPS : 1;
  for (int step = at_once; step <= POLAR_STEPS; step += at_once) {
    const Polynomial p = polynomial(gram(x, threads), at_once, threads);
    const float size = step == POLAR_STEPS ? std::sqrt(static_cast<float>(m)) : 1;
    multiply(p.change[0], p.change.stride, n, x, size, size * p.factor, x, x, threads);
  }
}

// The same of a band, in its place in the matrix.
inline void make_polar(const Band& band, int threads) {
  if (band.is_all()) return make_polar(*band.of, band.square, threads);
  const long n = band.chosen.size(), m = band.of->columns;
  Matrix x(n, m);
  for (long i = 0; i < n; ++i) std::copy_n((*band.of)[band.chosen[i]], m, x[i]);
  make_polar(x, band.square, threads);
  for (long i = 0; i < n; ++i) std::copy_n(x[i], m, (*band.of)[band.chosen[i]]);
}

// Deals the rows of a matrix into bands in turn, in the order of their norms.
inline std::vector<Band> deal(Matrix& matrix, long bands) {
  const std::vector<double> squares = sums_of_squares(matrix);
  const std::vector<long> order = largest_first(squares);
  std::vector<Band> dealt(bands, Band{&matrix, {}, 0});
  for (long i = 0; i < matrix.rows; ++i) {
    dealt[i % bands].chosen.push_back(order[i]);
    dealt[i % bands].square += squares[order[i]];
  }
  return dealt;
}

// The same of all bands. Those that are a thread's share of the work or more have all threads, one
// after another.
inline void make_polar(std::vector<const Band*> bands, int threads) {
  std::stable_sort(bands.begin(), bands.end(),
                   [](const Band* a, const Band* b) { return a->cost() > b->cost(); });
  double total = 0;
  for (const Band* band : bands) total += band->cost();
  size_t next = 0;
  for (; next < bands.size() && bands[next]->cost() * threads > total; ++next) {
    total -= bands[next]->cost();
    make_polar(*bands[next], threads);
  }
  in_parallel(bands.size() - next, threads, [&](long i) { make_polar(*bands[next + i], 1); });
}

}  // namespace nfn
