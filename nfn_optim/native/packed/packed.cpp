// Entries of networks of many shapes in tables: sums over what they belong to, and products to which
// what they belong to adds.
//
// A table has a row of channels for each entry. Rows go through the cache in chunks, and all that is
// asked of a chunk is done while it is there.

#include <algorithm>
#include <cstdint>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "border.h"
#include "flush.h"
#include "parallel.h"
#include "product.h"
#include "tiles.h"

namespace nfn {
namespace {

constexpr long CHUNK = 128;                  // entries
constexpr long WIDE = 2;                     // registers of a row that are worked on at a time
constexpr long SUMS = LANES == 16 ? 16 : 8;  // registers that sums stay in
constexpr long AHEAD = 1024;                 // floats that are asked for before they are read
constexpr long LARGE = 1 << 21;              // bytes of results that are not kept in the cache: a page
constexpr int SLOTS = 3;                     // that an entry may belong to

// Entries that lie one after another. Entry `e` belongs to the slots `slots[k] + e * steps[k]`, as
// far as they are not negative.
struct Run {
  int32_t count, slots[SLOTS], steps[SLOTS];

  Run part(int32_t begin, int32_t size) const {
    Run result = *this;
    result.count = size;
    for (int k = 0; k < SLOTS; ++k) result.slots[k] += slots[k] < 0 ? 0 : begin * steps[k];
    return result;
  }
};

// Runs whose entries lie one after another in a table, from `row` on. No two pieces have a slot in
// common.
struct Piece {
  int64_t table, row, entries, first, count, map;
};

// As the Python side writes it.
struct Task {
  const Piece* pieces;
  int64_t count, threads;
  const Run* runs;
};

// Rows of so many floats, one after another.
template <class T>
struct Table {
  T* begin;
  long width;

  T* operator[](long row) const { return begin + row * width; }

  // Asks for what follows, for processors stop at the ends of pages.
  void fetch(long row, long rows) const {
    const T* from = (*this)[row] + AHEAD;
    for (long i = 0; i < rows * width; i += 16) __builtin_prefetch(from + i);
  }
};

// A matrix whose rows are whole registers.
class Matrix {
 public:
  Matrix(long rows, long width) : rows_(rows), stride_(padded(width)), numbers_(rows * stride_) {}

  static Matrix of(Table<const float> from, long rows) {
    Matrix result(rows, from.width);
    for (long i = 0; i < rows; ++i) std::copy_n(from[i], from.width, result[i]);
    return result;
  }

  void add_to(Table<float> to) const {
    for (long i = 0; i < rows_; ++i) {
      for (long j = 0; j < to.width; ++j) to[i][j] += (*this)[i][j];
    }
  }

  float* operator[](long row) { return numbers_.data() + row * stride_; }
  const float* operator[](long row) const { return numbers_.data() + row * stride_; }
  long stride() const { return stride_; }

 private:
  long rows_, stride_;
  std::vector<float> numbers_;
};

// `f(Number of registers, first column, columns)` for all columns.
template <class F>
void columns(long width, F f) {
  for (long c = 0; c < width; c += WIDE * LANES) {
    const long left = std::min(width - c, WIDE * LANES);
    choose<WIDE>((left + LANES - 1) / LANES, [&](auto size) { f(size, c, left); });
  }
}

// The first `width` floats of a row, in registers.
template <long V>
struct Row {
  Vec x[V] = {};

  static NFN_INLINE Row at(const float* from, long width) {
    Row row;
#pragma GCC unroll 4
    for (long v = 0; v < V; ++v) row.x[v] = load(from + v * LANES, width - v * LANES);
    return row;
  }

  NFN_INLINE void operator+=(const Row& other) {
#pragma GCC unroll 4
    for (long v = 0; v < V; ++v) x[v] += other.x[v];
  }

  NFN_INLINE void store_at(float* to, long width) const {
#pragma GCC unroll 4
    for (long v = 0; v < V; ++v) store(to + v * LANES, x[v], width - v * LANES);
  }

  NFN_INLINE void add_to(float* to, long width) const {
    Row sum = at(to, width);
    sum += *this;
    sum.store_at(to, width);
  }
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

void add(const float* from, float* to, long n) {
  for (long i = 0; i < n; ++i) to[i] += from[i];
}

// Adds a run's entries to their slots.
void pool(const Run& run, Table<const float> x, Table<float> sums) {
  const long width = x.width;
  int shared[SLOTS], count = 0;
  for (int k = 0; k < SLOTS; ++k) {
    if (run.slots[k] < 0) continue;
    if (run.steps[k] == 0) {
      shared[count++] = run.slots[k];
    } else if (run.steps[k] == 1) {
      add(x.begin, sums[run.slots[k]], run.count * width);
    } else {
      for (long e = 0; e < run.count; ++e) {
        add(x[e], sums[run.slots[k] + e * run.steps[k]], width);
      }
    }
  }
  if (!count) return;
  columns(width, [&](auto size, long c, long left) {
    const auto row = total<decltype(size)::value>({x.begin + c, width}, run.count, left);
    for (int k = 0; k < count; ++k) row.add_to(sums[shared[k]] + c, left);
  });
}

// The product of each of a run's entries with a matrix `(in, out)`, and what its slots add.
void map(const Run& run, Table<const float> x, const Matrix& matrix, Table<const float> terms,
         Table<float> y) {
  columns(y.width, [&](auto size, long c, long left) {
    constexpr long V = decltype(size)::value;
    Row<V> shared;
    const float* others[SLOTS];
    long strides[SLOTS];
    int number = 0;
    for (int k = 0; k < SLOTS; ++k) {
      if (run.slots[k] < 0) continue;
      const float* from = terms[run.slots[k]] + c;
      if (run.steps[k] == 0) {
        shared += Row<V>::at(from, left);
      } else {
        others[number] = from, strides[number] = run.steps[k] * y.width, ++number;
      }
    }
    even_tiles<SUMS / V>(run.count, [&](auto entries, long e) {
      constexpr long N = decltype(entries)::value;
      Vec sums[N][V];
#pragma GCC unroll 16
      for (long i = 0; i < N; ++i) {
        Row<V> row = shared;
        for (int k = 0; k < number; ++k) row += Row<V>::at(others[k] + (e + i) * strides[k], left);
        for (long v = 0; v < V; ++v) sums[i][v] = row.x[v];
      }
      const float* from = x[e];
      accumulate(sums, x.width, matrix[0] + c, matrix.stride(),
                 [&](long i, long t) { return from[i * x.width + t]; });
#pragma GCC unroll 16
      for (long i = 0; i < N; ++i) {
        for (long v = 0; v < V; ++v) {
          store(y[e + i] + c + v * LANES, sums[i][v], left - v * LANES);
        }
      }
    });
  });
}

// Adds the products of each channel of `a` with each of `b`, of all entries.
void outer(long count, Table<const float> a, Table<const float> b, Matrix& sums) {
  columns(b.width, [&](auto size, long c, long left) {
    constexpr long V = decltype(size)::value;
    even_tiles<SUMS / V>(a.width, [&](auto rows, long r) {
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

// Copies floats past the cache, whose lines would be read before they are written.
void stream(const float* from, float* to, long n) {
  long i = 0;
#if defined(__AVX__)
  i = std::min<long>(n, -reinterpret_cast<uintptr_t>(to) / sizeof(float) % LANES);
  std::copy_n(from, i, to);
  for (; i + LANES <= n; i += LANES) {
#if defined(__AVX512F__)
    _mm512_stream_ps(to + i, (__m512)load(from + i));
#else
    _mm256_stream_ps(to + i, (__m256)load(from + i));
#endif
  }
#endif
  std::copy_n(from + i, n - i, to + i);
}

// Where results are written, one after another.
class Results {
 public:
  Results(float* to, long count) : to_(to), is_large_(count * long(sizeof(float)) >= LARGE) {
    if (is_large_) enlarge_pages(count);
  }

  Results(const Results&) = delete;
  Results& operator=(const Results&) = delete;

  ~Results() {
#if defined(__AVX__)
    _mm_sfence();  // other threads see what went past the cache
#endif
  }

  void write(const float* from, long n) {
    is_large_ ? stream(from, to_, n) : void(std::copy_n(from, n, to_));
    to_ += n;
  }

 private:
  // The first touch of a page takes time, so that new memory had better come in large ones.
  void enlarge_pages(long count) {
#if defined(MADV_HUGEPAGE)
    const uintptr_t first = reinterpret_cast<uintptr_t>(to_) / LARGE * LARGE;
    const uintptr_t size = reinterpret_cast<uintptr_t>(to_ + count) - first;
    madvise(reinterpret_cast<void*>(first), size, MADV_HUGEPAGE);
#endif
  }

  float* to_;
  bool is_large_;
};

// `f(run, row)` for the runs of a piece, cut so that none has more entries than a chunk.
template <class F>
void runs(const Task& task, const Piece& piece, F f) {
  long row = piece.row;
  for (long i = piece.first; i < piece.first + piece.count; ++i) {
    const Run& run = task.runs[i];
    for (int32_t e = 0; e < run.count; e += CHUNK) {
      const Run part = run.part(e, std::min<int32_t>(CHUNK, run.count - e));
      f(part, row);
      row += part.count;
    }
  }
}

template <class F>
void in_pieces(const Task& task, F f) {
  in_parallel(task.count, task.threads, [&](long i) { f(i, task.pieces[i]); });
}

}  // namespace
}  // namespace nfn

// Adds the entries of tables `(entries, width)` to the sums of their slots, `(slots, width)`.
extern "C" int nfn_pool(const nfn::Task* task, const float* const* tables, int64_t width,
                        float* sums) try {
  const nfn::Flush flush;
  nfn::in_pieces(*task, [&](long, const nfn::Piece& piece) {
    const nfn::Table<const float> x{tables[piece.table], width};
    nfn::runs(*task, piece, [&](const nfn::Run& run, long row) {
      x.fetch(row, run.count);
      nfn::pool(run, {x[row], width}, {sums, width});
    });
  });
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}

// Writes products of entries with one of two matrices `(in, out)`, and the terms `(slots, out)` of
// their slots.
extern "C" int nfn_map(const nfn::Task* task, const float* const* tables, int64_t in,
                       const float* const* matrices, const float* terms, int64_t out,
                       float* const* results) try {
  const nfn::Flush flush;
  const nfn::Matrix maps[] = {nfn::Matrix::of({matrices[0], out}, in),
                              nfn::Matrix::of({matrices[1], out}, in)};
  nfn::in_pieces(*task, [&](long, const nfn::Piece& piece) {
    const nfn::Table<const float> x{tables[piece.table], in};
    nfn::Results y(results[piece.table] + piece.row * out, piece.entries * out);
    std::vector<float> chunk(nfn::CHUNK * out);
    nfn::runs(*task, piece, [&](const nfn::Run& run, long row) {
      x.fetch(row, run.count);
      nfn::map(run, {x[row], in}, maps[piece.map], {terms, out}, {chunk.data(), out});
      y.write(chunk.data(), run.count * out);
    });
  });
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}

// From the adjoints of results `(entries, out)` to those of terms, which are added, and to those of
// matrices as `(out, in)`, likewise.
extern "C" int nfn_map_back(const nfn::Task* task, const float* const* adjoints, int64_t out,
                            const float* const* tables, int64_t in, float* terms,
                            float* const* matrices) try {
  const nfn::Flush flush;
  std::vector<nfn::Matrix> parts(task->count, nfn::Matrix(out, in));
  nfn::in_pieces(*task, [&](long i, const nfn::Piece& piece) {
    const nfn::Table<const float> g{adjoints[piece.table], out};
    const nfn::Table<const float> x{tables[piece.table], in};
    nfn::runs(*task, piece, [&](const nfn::Run& run, long row) {
      x.fetch(row, run.count);
      g.fetch(row, run.count);
      nfn::pool(run, {g[row], out}, {terms, out});
      nfn::outer(run.count, {g[row], out}, {x[row], in}, parts[i]);
    });
  });
  for (int64_t i = 0; i < task->count; ++i) {
    parts[i].add_to({matrices[task->pieces[i].map], in});
  }
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}
