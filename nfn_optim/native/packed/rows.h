// Tables with a row of channels for each entry, neuron or parameter: sums over runs of rows, and
// products to which is added what the rows belong to.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "product.h"
#include "registers.h"
#include "tiles.h"

namespace nfn {

constexpr long SUMS = LANES == 16 ? 16 : 8;  // registers that sums of products stay in
constexpr long PRODUCTS = 8;                 // and products: more rows' addresses would have none
constexpr int OWNERS = 3;                    // that a row may belong to

// Rows that lie one after another. Row `e` belongs to the rows `owners[k] + e * steps[k]` of another
// table, as far as `owners[k]` is not negative.
struct Run {
  int32_t count, owners[OWNERS], steps[OWNERS];

  Run part(int32_t begin, int32_t size) const {
    Run result = *this;
    result.count = size;
    for (int k = 0; k < OWNERS; ++k) result.owners[k] += owners[k] < 0 ? 0 : begin * steps[k];
    return result;
  }
};

// Rows of so many floats, one after another.
template <class T>
struct Table {
  T* begin;
  long width;

  T* operator[](long row) const { return begin + row * width; }
  Table from(long row) const { return {(*this)[row], width}; }
  operator Table<const T>() const { return {begin, width}; }
};

// A matrix whose rows are whole registers.
class Matrix {
 public:
  Matrix(long rows, long columns)
      : rows_(rows), columns_(columns), stride_(padded(columns)), numbers_(rows * stride_) {}

  float* operator[](long row) { return numbers_.data() + row * stride_; }
  const float* operator[](long row) const { return numbers_.data() + row * stride_; }
  long rows() const { return rows_; }
  long columns() const { return columns_; }
  long stride() const { return stride_; }

 private:
  long rows_, columns_, stride_;
  std::vector<float> numbers_;
};

// Sums of columns.
template <long V>
NFN_INLINE Row<V> total(Table<const float> x, long rows, long width) {
  constexpr long CHAINS = 4;  // additions that do not wait for each other
  Row<V> sums[CHAINS];
  long e = 0;
  for (; e + CHAINS <= rows; e += CHAINS) {
#pragma GCC unroll 4
    for (long i = 0; i < CHAINS; ++i) sums[i] += Row<V>::at(x[e + i], width);
  }
  for (; e < rows; ++e) sums[0] += Row<V>::at(x[e], width);
  for (long i = 1; i < CHAINS; ++i) sums[0] += sums[i];
  return sums[0];
}

inline void add(const float* from, float* to, long n) {
  for (long i = 0; i < n; ++i) to[i] += from[i];
}

inline void scale(Table<float> x, long rows, const float* factors) {
  columns(x.width, [&](auto size, long c, auto left) {
    for (long i = 0; i < rows; ++i) {
      auto row = Row<decltype(size)::value>::at(x[i] + c, left);
      row *= factors[i];
      row.store_at(x[i] + c, left);
    }
  });
}

// Adds a run's rows to their owners.
inline void pool(const Run& run, Table<const float> x, Table<float> sums) {
  const long width = x.width;
  for (int k = 0; k < OWNERS; ++k) {
    if (run.owners[k] < 0) continue;
    float* to = sums[run.owners[k]];
    const long stride = run.steps[k] * width;
    if (run.steps[k] == 1) {
      add(x.begin, to, run.count * width);
      continue;
    }
    columns(width, [&](auto size, long c, auto left) {
      constexpr long V = decltype(size)::value;
      if (!stride) return total<V>({x.begin + c, width}, run.count, left).add_to(to + c, left);
      for (long e = 0; e < run.count; ++e) Row<V>::at(x[e] + c, left).add_to(to + e * stride + c, left);
    });
  }
}

// How the first `n` lanes of results are written to memory.
struct Stored {
  static NFN_INLINE void write(float* to, Vec x, long n) { store_lanes(to, x, n); }
};

// Past the cache; all of them.
struct Streamed {
  static NFN_INLINE void write(float* to, Vec x, long) { stream(to, x); }
};

// The product of each of a run's rows with a matrix `(in, out)`, and what its owners add. A matrix
// without rows is zero.
template <class Memory = Stored>
void map(const Run& run, Table<const float> x, const Matrix& matrix, Table<const float> terms,
         Table<float> y) {
  columns(y.width, [&](auto size, long c, auto left) {
    constexpr long V = decltype(size)::value;
    Row<V> shared;
    const float* others[OWNERS];
    long strides[OWNERS];
    int number = 0;
    for (int k = 0; k < OWNERS; ++k) {
      if (run.owners[k] < 0) continue;
      const float* from = terms[run.owners[k]] + c;
      if (run.steps[k] == 0) {
        shared += Row<V>::at(from, left);
      } else {
        others[number] = from, strides[number] = run.steps[k] * y.width, ++number;
      }
    }
    even_tiles<PRODUCTS / V>(run.count, [&](auto rows, long e) {
      constexpr long N = decltype(rows)::value;
      Vec sums[N][V];
#pragma GCC unroll 8
      for (long i = 0; i < N; ++i) {
        Row<V> row = shared;
        for (int k = 0; k < number; ++k) row += Row<V>::at(others[k] + (e + i) * strides[k], left);
        for (long v = 0; v < V; ++v) sums[i][v] = row.x[v];
      }
      const float* from = x[e];
      if (matrix.rows()) {
        accumulate(sums, matrix.rows(), matrix[0] + c, matrix.stride(),
                   [&](long i, long t) { return from[i * x.width + t]; });
      }
#pragma GCC unroll 8
      for (long i = 0; i < N; ++i) {
        for (long v = 0; v < V; ++v) {
          Memory::write(y[e + i] + c + v * LANES, sums[i][v], left - v * LANES);
        }
      }
    });
  });
}

// Adds the products of each channel of `a` with each of `b`, of all rows, to a matrix of as many
// rows and columns; one without columns takes none.
inline void outer(long count, Table<const float> a, Table<const float> b, Matrix& sums) {
  columns(sums.columns(), [&](auto size, long c, auto left) {
    constexpr long V = decltype(size)::value;
    even_tiles<SUMS / V>(sums.rows(), [&](auto rows, long r) {
      constexpr long N = decltype(rows)::value;
      Row<V> found[N];
      for (long i = 0; i < N; ++i) found[i] = Row<V>::at(sums[r + i] + c, V * LANES);
      for (long e = 0; e < count; ++e) {
        const Row<V> row = Row<V>::at(b[e] + c, left);
        const float* factors = a[e] + r;
#pragma GCC unroll 16
        for (long i = 0; i < N; ++i) {
#pragma GCC unroll 4
          for (long v = 0; v < V; ++v) found[i].x[v] += factors[i] * row.x[v];
        }
      }
      for (long i = 0; i < N; ++i) found[i].store_at(sums[r + i] + c, V * LANES);
    });
  });
}

}  // namespace nfn
