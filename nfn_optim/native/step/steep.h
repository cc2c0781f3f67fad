// Along which directions the momenta of a matrix are large, as rules/_steep.py has it. Shapes: matrices
// of `n` rows and `m` columns, `k` directions on either side.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "constants.h"
#include "matrix.h"
#include "polar.h"

namespace nfn {

// Takes every row's length from it. Rows of zeros stay.
inline std::vector<float> take_lengths(Matrix& rows) {
  std::vector<float> lengths;
  for (long j = 0; j < rows.rows; ++j) {
    lengths.push_back(std::sqrt(static_cast<float>(sum_of_squares(rows[j], rows.columns))));
    const float known = std::max(lengths.back(), std::numeric_limits<float>::min());
    for (long e = 0; e < rows.columns; ++e) rows[j][e] /= known;
  }
  return lengths;
}

// Added up in double precision.
template <class T>
inline double inner_product(const T* x, const T* y, long count) {
  double total = 0;
  for (long e = 0; e < count; ++e) total += static_cast<double>(x[e]) * y[e];
  return total;
}

// Directions of the neurons on one side of a matrix.
class Directions {
 public:
  // `memory` has `k` numbers of each of the neurons.
  Directions(float* memory, long neurons, long k) : unit(k, neurons), memory_(memory) {
    transpose(memory, k, neurons, k, unit[0], unit.stride);
    shares = take_lengths(unit);
  }

  Matrix unit;  // a row each
  std::vector<float> shares;

  bool are_known() const {
    return std::all_of(shares.begin(), shares.end(), [](float share) { return share > 0; });
  }

  // What is left of a step along each of them, less one.
  std::vector<float> changes() const {
    std::vector<float> found;
    for (float share : shares) {
      found.push_back(std::pow(std::max(share * unit.columns, 1.0f), -STEEP_EXPONENT) - 1);
    }
    return found;
  }

  // Remembers them after a momentum of weight `rate` among all: `news` `(k, neurons)` is what it
  // makes of each.
  void follow(const Matrix& news, float rate) {
    Matrix next(unit.rows, unit.columns);
    for (long j = 0; j < unit.rows; ++j) {
      const float share = shares[j];
      for (long e = 0; e < unit.columns; ++e) {
        const float old = share * unit[j][e];
        next[j][e] = old + rate * (news[j][e] - old);
      }
    }
    make_orthogonal(next);
    transpose(next[0], next.stride, next.rows, next.columns, memory_, unit.rows);
  }

 private:
  float* memory_;

  // In double precision, in which little is left of what is nearly along those before.
  static void make_orthogonal(Matrix& rows) {
    const std::vector<float> lengths = take_lengths(rows);
    const long k = rows.rows, n = rows.columns;
    std::vector<double, Pooled<double>> found(k * n), factor(k * k);
    for (long j = 0; j < k; ++j) {
      double *own = &found[j * n], *along = &factor[j * k];
      std::copy_n(rows[j], n, own);
      double left = inner_product(own, own, n) + RIDGE;
      for (long i = 0; i < j; ++i) {
        // Of the vectors as they were: `along[i]` times what is left of them are known already.
        double rest = inner_product(rows[j], rows[i], n);
        for (long l = 0; l < i; ++l) rest -= along[l] * factor[i * k + l];
        along[i] = rest / factor[i * k + i];
        left -= along[i] * along[i];
        const double* other = &found[i * n];
        for (long e = 0; e < n; ++e) own[e] -= along[i] * other[e];
      }
      along[j] = std::sqrt(std::max(left, static_cast<double>(TINY)));
      for (long e = 0; e < n; ++e) own[e] /= along[j];
    }
    for (long j = 0; j < k; ++j) {
      const double new_part = factor[j * k + j];
      const double length = new_part > LEAST_NEW ? lengths[j] * new_part : 0;
      for (long e = 0; e < n; ++e) rows[j][e] = static_cast<float>(length * found[j * n + e]);
    }
  }
};

// Directions, and in place of those that are not known yet those of the largest rows of a matrix.
inline Matrix begun(const Directions& known, const Matrix& rows) {
  std::vector<double> squares;
  for (long i = 0; i < rows.rows; ++i) squares.push_back(sum_of_squares(rows[i], rows.columns));
  std::vector<long> order(rows.rows);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](long i, long j) { return squares[i] > squares[j]; });
  Matrix found = known.unit, largest(std::min(found.rows, rows.rows), rows.columns);
  for (long j = 0; j < largest.rows; ++j) std::copy_n(rows[order[j]], rows.columns, largest[j]);
  take_lengths(largest);
  for (long j = 0; j < largest.rows; ++j) {
    if (known.shares[j] <= 0) std::copy_n(largest[j], rows.columns, found[j]);
  }
  return found;
}

// Those of the rows and of the columns of one matrix.
class Steep {
 public:
  Steep(float* of_rows, long rows, float* of_columns, long columns, long k)
      : rows_(of_rows, rows, k), columns_(of_columns, columns, k) {}

  // Remembers a momentum of weight `rate` among all, and makes it smaller along what was known.
  void follow_and_damp(Matrix& momentum, float rate) {
    const Along along = look(momentum);
    Along seen = along;
    if (!columns_.are_known()) seen.columns = multiply_turned(momentum, begun(columns_, momentum));
    if (!rows_.are_known()) seen.rows = multiply(begun(rows_, turned(momentum)), momentum);
    Matrix news_of_columns = multiply(turned(seen.columns), momentum);
    Matrix news_of_rows = multiply_turned(seen.rows, momentum);
    const double square = sum_of_squares(momentum[0], momentum.data.size());
    const float unit = 1 / (static_cast<float>(square) + TINY);
    for (Matrix* news : {&news_of_columns, &news_of_rows}) {
      for (float& x : news->data) x *= unit;
    }
    damp(momentum, along);
    columns_.follow(news_of_columns, rate);
    rows_.follow(news_of_rows, rate);
  }

  void damp(Matrix& x) const { damp(x, look(x)); }

 private:
  Directions rows_, columns_;

  // What a matrix has along the directions.
  struct Along {
    Matrix columns;  // `(n, k)`
    Matrix rows;     // `(k, m)`
  };

  Along look(const Matrix& x) const {
    return {multiply_turned(x, columns_.unit), multiply(rows_.unit, x)};
  }

  // `x + [C | E] [columns; R]` where `C` is what there is of each column's direction times its
  // change, `R` what is left along those of the rows, and `E` these times their changes.
  void damp(Matrix& x, Along along) const {
    const long n = x.rows, k = rows_.unit.rows;
    const std::vector<float> of_rows = rows_.changes(), of_columns = columns_.changes();
    Matrix left(n, 2 * k), right(2 * k, x.columns);
    for (long i = 0; i < n; ++i) {
      for (long j = 0; j < k; ++j) {
        along.columns[i][j] *= of_columns[j];
        left[i][j] = along.columns[i][j];
        left[i][k + j] = rows_.unit[j][i] * of_rows[j];
      }
    }
    const Matrix both = multiply(rows_.unit, along.columns);  // (k, k)
    multiply(both[0], both.stride, k, columns_.unit, 1, 1, along.rows, along.rows, 1);
    copy(columns_.unit[0], columns_.unit.stride, k, x.columns, right[0], right.stride);
    copy(along.rows[0], along.rows.stride, k, x.columns, right[k], right.stride);
    multiply(left[0], left.stride, n, right, 1, 1, x, x, 1);
  }
};

}  // namespace nfn
