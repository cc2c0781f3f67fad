// Along which directions the momenta of a matrix are large, as rules/_steep.py has it. Shapes: matrices
// of `n` rows and `m` columns, `k` directions on either side, no more than rows or columns.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "constants.h"
#include "matrix.h"
#include "polar.h"

namespace nfn {

// Takes every row's length from it. Rows of zeros stay.
inline std::vector<float> take_lengths(Matrix& rows) {
  std::vector<float> lengths;
  for (long j = 0; j < rows.rows; ++j) {
    lengths.push_back(static_cast<float>(std::sqrt(sum_of_squares(rows[j], rows.columns))));
    const float known = std::max(lengths.back(), std::numeric_limits<float>::min());
    for (long e = 0; e < rows.columns; ++e) rows[j][e] /= known;
  }
  return lengths;
}

// Directions of the neurons on one side of a matrix.
class Directions {
 public:
  // `memory` has `k` numbers of each of the neurons.
  Directions(float* memory, long neurons, long k)
      : unit(turned(memory, k, neurons, k)), shares(take_lengths(unit)), memory_(memory) {}

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
  const std::vector<long> order = largest_first(sums_of_squares(rows));
  Matrix found = known.unit, largest(found.rows, rows.columns);
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
    const bool is_known = columns_.are_known() && rows_.are_known();
    const Along along = look(momentum, columns_.unit, rows_.unit, is_known);
    Along begun_along;
    if (!is_known) {
      const Matrix columns = begun(columns_, momentum), rows = begun(rows_, turned(momentum));
      begun_along = look(momentum, columns, rows, true);
    }
    const Along& seen = is_known ? along : begun_along;
    Matrix of_rows(rows_.unit.rows, momentum.rows), of_columns = seen.of_columns;
    damp(momentum, along, [&](long begin, long end) {
      multiply_turned(seen.rows, momentum, begin, end, of_rows);
    });
    const float unit = 1 / (static_cast<float>(seen.square) + TINY);
    for (Matrix* news : {&of_columns, &of_rows}) {
      for (float& x : news->data) x *= unit;
    }
    columns_.follow(of_columns, rate);
    rows_.follow(of_rows, rate);
  }

  void damp(Matrix& x) const {
    damp(x, look(x, columns_.unit, rows_.unit, false), [](long, long) {});
  }

 private:
  Directions rows_, columns_;

  // What there is of a matrix `x` along directions `C` of its columns and `R` of its rows.
  struct Along {
    Matrix columns;     // `C x^T` `(k, n)`
    Matrix rows;        // `R x` `(k, m)`
    Matrix of_columns;  // `C x^T x` `(k, m)`, and the sum of all squares, where these are asked for
    double square = 0;
  };

  // Calls `visit(begin, end)` for strips of so many rows, which the nearer caches hold.
  template <class Visit>
  static void each_strip(long rows, Visit visit) {
    constexpr long ROWS = 32;
    for (long i = 0; i < rows; i += ROWS) visit(i, std::min(i + ROWS, rows));
  }

  static Along look(const Matrix& x, const Matrix& columns, const Matrix& rows, bool follows) {
    const long k = rows.rows, m = x.columns;
    Along found{Matrix(k, x.rows), Matrix(k, m), Matrix(follows ? k : 0, m)};
    each_strip(x.rows, [&](long begin, long end) {
      const long count = end - begin;
      multiply_turned(columns, x, begin, end, found.columns);
      multiply_near(rows[0] + begin, rows.stride, k, x[begin], x.stride, count, found.rows[0],
                    found.rows.stride, found.rows[0], found.rows.stride, m);
      if (!follows) return;
      found.square += sum_of_squares(x[begin], count * x.stride);
      multiply_near(found.columns[0] + begin, found.columns.stride, k, x[begin], x.stride, count,
                    found.of_columns[0], found.of_columns.stride, found.of_columns[0],
                    found.of_columns.stride, m);
    });
    return found;
  }

  // `x + [A | B] [C; D]`, where `A` is what there is along each column's direction times its change,
  // `D` what that leaves along those of the rows, and `B` these times their changes. Calls
  // `visit(begin, end)` for each strip of rows before it changes.
  template <class Visit>
  void damp(Matrix& x, const Along& along, Visit visit) const {
    const long n = x.rows, k = rows_.unit.rows;
    const std::vector<float> of_rows = rows_.changes(), of_columns = columns_.changes();
    Matrix left(n, 2 * k), right(2 * k, x.columns), both(k, k);
    for (long i = 0; i < n; ++i) {
      for (long j = 0; j < k; ++j) {
        left[i][j] = along.columns[j][i] * of_columns[j];
        left[i][k + j] = rows_.unit[j][i] * of_rows[j];
      }
    }
    multiply_turned(rows_.unit, along.columns, 0, k, both);
    for (long i = 0; i < k; ++i) {
      for (long j = 0; j < k; ++j) both[i][j] *= of_columns[j];
    }
    copy(columns_.unit[0], columns_.unit.stride, k, x.columns, right[0], right.stride);
    multiply_near(both[0], both.stride, k, columns_.unit[0], columns_.unit.stride, k, along.rows[0],
                  along.rows.stride, right[k], right.stride, x.columns);
    each_strip(n, [&](long begin, long end) {
      visit(begin, end);
      multiply_near(left[begin], left.stride, end - begin, right[0], right.stride, 2 * k, x[begin],
                    x.stride, x[begin], x.stride, x.columns);
    });
  }
};

}  // namespace nfn
