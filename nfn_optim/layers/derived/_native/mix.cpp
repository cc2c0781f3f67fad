// The arithmetic of a derived layer, as `_gather.py` has it, for float32 on a CPU and few channels.
//
// A level is `(networks, rows, columns, width * channels)`; one of vectors has one row, one of whole
// networks one row and one column. Channels come in whole registers.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "lanes.h"

namespace nfn {
namespace {

constexpr long BLOCK = LANES == 16 ? 8 : 4;  // entries that a product works on at once
constexpr int TILE = LANES == 16 ? 8 : 4;    // rows that a weight's gradient is made of at once
constexpr long GRAIN = 16384;                // numbers below which one thread does all
constexpr long FEW = 8;                      // entries that a copy of the weight does not pay for

// Columns of a level: a parameter's own, or sums or means of columns of a larger level over an axis.
struct Source {
  int64_t param, parent, start, axis, width, column;
};

struct Level {
  long rows, columns, width;
  std::vector<Source> sources;

  long entries() const { return rows * columns; }
  bool is_param() const { return sources.size() == 1 && sources[0].param >= 0; }
};

struct Program {
  std::vector<Level> levels;
  long networks;
  int threads;

  // As `_program.py` writes it.
  Program(const int64_t* numbers, long networks, int threads) : networks(networks), threads(threads) {
    levels.resize(*numbers++);
    for (Level& level : levels) {
      level.rows = numbers[0], level.columns = numbers[1], level.width = numbers[2];
      level.sources.resize(numbers[3]);
      numbers += 4;
    }
    for (Level& level : levels) {
      for (Source& source : level.sources) {
        source = {numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]};
        numbers += 6;
      }
    }
  }

  // Where each level is: a parameter itself, or one after another in `arena`.
  std::vector<float*> place(float* const* params, float* arena, long channels) const {
    std::vector<float*> at;
    for (const Level& level : levels) {
      at.push_back(level.is_param() ? params[level.sources[0].param] : arena);
      if (!level.is_param()) arena += networks * level.entries() * level.width * channels;
    }
    return at;
  }

  int threads_for(long numbers) const {
    return static_cast<int>(std::min<long>(threads, 1 + numbers / GRAIN));
  }
};

// Sums of `COUNT` registers of a row's entries to `along`, added to `across` for each entry.
template <int COUNT>
inline void sum_row(const float* x, long columns, long stride, float* along, float* across) {
  Vec sums[COUNT] = {};
  for (long k = 0; k < columns; ++k, x += stride) {
    for (int i = 0; i < COUNT; ++i) {
      const Vec value = load(x + i * LANES);
      sums[i] += value;
      float* at = across + k * COUNT * LANES + i * LANES;
      store(at, load(at) + value);
    }
  }
  for (int i = 0; i < COUNT; ++i) store(along + i * LANES, sums[i]);
}

// Sums over columns `(rows, size)` and over rows `(columns, size)` of some rows of `size` channels.
void sum_rows(const float* x, long rows, long columns, long stride, long size, float* along,
              float* across) {
  long c = 0;
  std::vector<float> part(columns * 2 * LANES);
  const auto each = [&](auto sum, long width) {
    std::fill_n(part.begin(), columns * width, 0.0f);
    for (long r = 0; r < rows; ++r) sum(x + r * columns * stride + c, along + r * size + c);
    for (long k = 0; k < columns; ++k) std::copy_n(&part[k * width], width, across + k * size + c);
    c += width;
  };
  const auto two = [&](const float* from, float* to) {
    sum_row<2>(from, columns, stride, to, part.data());
  };
  const auto one = [&](const float* from, float* to) {
    sum_row<1>(from, columns, stride, to, part.data());
  };
  while (c + 2 * LANES <= size) each(two, 2 * LANES);
  if (c < size) each(one, LANES);
}

// Both sums of a level over all networks; rows of one network are shared out where there are few.
struct Sums {
  std::vector<float> along, across;

  Sums(const Program& program, const Level& level, const float* x, long channels) {
    const long size = level.width * channels, row = level.columns * size;
    const long networks = program.networks;
    const int threads = program.threads_for(networks * level.entries() * size);
    const long parts = std::min(level.rows, (threads + networks - 1) / networks);
    along.resize(networks * level.rows * size);
    std::vector<float> partial(networks * parts * row);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long task = 0; task < networks * parts; ++task) {
      const long b = task / parts, part = task % parts;
      const long begin = part * level.rows / parts, end = (part + 1) * level.rows / parts;
      const long first = b * level.rows + begin;
      sum_rows(x + first * row, end - begin, level.columns, size, size, &along[first * size],
               &partial[task * row]);
    }
    if (parts == 1) {
      across = std::move(partial);
      return;
    }
    across.assign(networks * row, 0.0f);
    for (long task = 0; task < networks * parts; ++task) {
      float* to = &across[task / parts * row];
      for (long e = 0; e < row; ++e) to[e] += partial[task * row + e];
    }
  }
};

// Fills levels from parameters, larger ones first.
void gather(const Program& program, float* const* params, float* arena, long channels, bool sums) {
  const std::vector<float*> at = program.place(params, arena, channels);
  std::vector<std::unique_ptr<Sums>> found(program.levels.size());
  for (size_t index = 0; index < program.levels.size(); ++index) {
    const Level& level = program.levels[index];
    if (level.is_param()) continue;
    const long size = level.width * channels, entries = program.networks * level.entries();
    for (const Source& source : level.sources) {
      const long width = source.width * channels;
      const float* from;
      long stride = width;
      float share = 1;
      if (source.param >= 0) {
        from = params[source.param];
      } else {
        const Level& parent = program.levels[source.parent];
        auto& both = found[source.parent];
        if (!both) both = std::make_unique<Sums>(program, parent, at[source.parent], channels);
        stride = parent.width * channels;
        from = (source.axis ? both->along : both->across).data() + source.start * channels;
        if (!sums) share = 1.0f / (source.axis ? parent.columns : parent.rows);
      }
      float* to = at[index] + source.column * channels;
      for (long e = 0; e < entries; ++e) {
        for (long c = 0; c < width; ++c) to[e * size + c] = share * from[e * stride + c];
      }
    }
  }
}

// What a product is added to: `row` for all entries, `columns` for each; null is nothing.
struct Base {
  const float *row, *columns;
};

// `COUNT` entries times a panel of `VECS` registers.
template <int COUNT, int VECS>
inline void multiply(const float* x, long in, const float* weight, Base base, float* y, long out) {
  Vec sums[COUNT][VECS];
  for (int v = 0; v < VECS; ++v) {
    const Vec row = base.row ? load(base.row + v * LANES) : Vec{};
    for (int i = 0; i < COUNT; ++i) {
      sums[i][v] = base.columns ? row + load(base.columns + i * out + v * LANES) : row;
    }
  }
  for (long c = 0; c < in; ++c) {
    Vec w[VECS];
    for (int v = 0; v < VECS; ++v) w[v] = load(weight + (c * VECS + v) * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) {
      const float factor = x[i * in + c];
      for (int v = 0; v < VECS; ++v) sums[i][v] += factor * w[v];
    }
  }
  for (int i = 0; i < COUNT; ++i) {
    for (int v = 0; v < VECS; ++v) store(y + i * out + v * LANES, sums[i][v]);
  }
}

template <int VECS>
inline void multiply_row(const float* x, long count, long in, const float* weight, Base base,
                         float* y, long out) {
  long k = 0;
  const auto from = [&](long entry) {
    return Base{base.row, base.columns ? base.columns + entry * out : nullptr};
  };
  for (; k + BLOCK <= count; k += BLOCK) {
    multiply<BLOCK, VECS>(x + k * in, in, weight, from(k), y + k * out, out);
  }
  for (; k < count; ++k) {
    multiply<1, VECS>(x + k * in, in, weight, from(k), y + k * out, out);
  }
}

// A level's weight `(in, out)`, or `(out, in)` if it is to be transposed.
struct Weight {
  const float* data;
  long in, out;
  bool transposed;

  // Panels of `2 * LANES` columns one after another, a last one of `LANES`.
  std::vector<float> panels(int threads) const {
    std::vector<float> packed(in * out);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long o = 0; o < out; o += 2 * LANES) {
      const long width = std::min(2 * LANES, out - o);
      float* to = &packed[o * in];
      for (long c = 0; c < in && !transposed; ++c) {
        std::copy_n(data + c * out + o, width, to + c * width);
      }
      for (long j = 0; j < width && transposed; ++j) {
        for (long c = 0; c < in; ++c) to[c * width + j] = data[(o + j) * in + c];
      }
    }
    return packed;
  }
};

// `y = x weight + base` of one entry, without a copy of the weight.
void multiply_one(const float* x, const Weight& weight, Base base, float* y) {
  const long in = weight.in, out = weight.out;
  for (long o = 0; o < out; ++o) {
    y[o] = (base.row ? base.row[o] : 0) + (base.columns ? base.columns[o] : 0);
  }
  for (long c = 0; c < in && !weight.transposed; ++c) {
    for (long o = 0; o < out; ++o) y[o] += x[c] * weight.data[c * out + o];
  }
  for (long o = 0; o < out && weight.transposed; ++o) {
    float total = 0;
    for (long c = 0; c < in; ++c) total += x[c] * weight.data[o * in + c];
    y[o] += total;
  }
}

// `y = x weight + base` on a level, in pieces of a row's entries that stay in the cache.
void multiply(const Program& program, const Level& level, const float* x, const Weight& weight,
              const float* rows, const float* columns, float* y) {
  const long in = weight.in, out = weight.out, total = program.networks * level.rows;
  const auto base_of = [&](long r, long k) {
    const long entry = r / level.rows * level.columns + k;
    return Base{rows ? rows + r * out : nullptr, columns ? columns + entry * out : nullptr};
  };
  if (total * level.columns < FEW) {
    for (long e = 0; e < total * level.columns; ++e) {
      multiply_one(x + e * in, weight, base_of(e / level.columns, e % level.columns), y + e * out);
    }
    return;
  }
  const std::vector<float> packed = weight.panels(program.threads_for(in * out));
  const int threads = program.threads_for(total * level.columns * in * out / 16);
  const long parts = (threads + total - 1) / total;  // of a row at least
  const long fair = padded((level.columns + parts - 1) / parts, BLOCK);
  const long piece = std::min(fair, std::max(BLOCK, 32768 / in / BLOCK * BLOCK));
  const long pieces = (level.columns + piece - 1) / piece;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (long task = 0; task < total * pieces; ++task) {
    const long r = task / pieces, k = task % pieces * piece;
    const long count = std::min(piece, level.columns - k), first = r * level.columns + k;
    const Base whole = base_of(r, k);
    for (long o = 0; o < out; o += 2 * LANES) {
      const Base base = {whole.row ? whole.row + o : nullptr,
                         whole.columns ? whole.columns + o : nullptr};
      const float *from = x + first * in, *panel = &packed[o * in];
      float* to = y + first * out + o;
      out - o > LANES ? multiply_row<2>(from, count, in, panel, base, to, out)
                      : multiply_row<1>(from, count, in, panel, base, to, out);
    }
  }
}

// Results of levels, smaller ones first, added to larger ones. Of an adjoint, weights are transposed
// and shares added.
void scatter(const Program& program, float* const* params, float* arena, const float* const* weights,
             const float* bias, bool adjoint, long in, long out, float* const* results) {
  const std::vector<float*> at = program.place(params, arena, in);
  std::vector<std::vector<float>> made(program.levels.size()), rows(made), columns(made);
  for (size_t index = program.levels.size(); index-- > 0;) {
    const Level& level = program.levels[index];
    const long size = level.width * out, entries = program.networks * level.entries();
    float* y = level.is_param() ? results[level.sources[0].param] : nullptr;
    if (!y) {
      made[index].resize(entries * size);
      y = made[index].data();
    }
    const bool last = index + 1 == program.levels.size();
    if (last && bias) {
      for (long b = 0; b < program.networks; ++b) {
        rows[index].insert(rows[index].end(), bias, bias + size);
      }
    }
    const auto data = [](const std::vector<float>& x) { return x.empty() ? nullptr : x.data(); };
    const Weight weight = {weights[index], level.width * in, size, adjoint};
    multiply(program, level, at[index], weight, data(rows[index]), data(columns[index]), y);
    for (const Source& source : level.sources) {
      const long width = source.width * out;
      const float* from = y + source.column * out;
      if (source.param >= 0) {
        if (level.is_param()) continue;
        float* to = results[source.param];
        for (long e = 0; e < entries; ++e) std::copy_n(from + e * size, width, to + e * width);
        continue;
      }
      const Level& parent = program.levels[source.parent];
      const long stride = parent.width * out;
      const float share = adjoint ? 1.0f / (source.axis ? parent.columns : parent.rows) : 1.0f;
      std::vector<float>& base = (source.axis ? rows : columns)[source.parent];
      base.resize(entries * stride);
      float* to = base.data() + source.start * out;
      for (long e = 0; e < entries; ++e) {
        for (long c = 0; c < width; ++c) to[e * stride + c] += share * from[e * size + c];
      }
    }
  }
}

// Adds `x^T g` of `n` entries to `w`: `ROWS` channels of `x` by `VECS` registers of `g`.
template <int ROWS, int VECS>
inline void outer(const float* x, long in, const float* g, long out, long n, float* w) {
  Vec sums[ROWS][VECS] = {};
  for (long e = 0; e < n; ++e) {
    Vec value[VECS];
    for (int v = 0; v < VECS; ++v) value[v] = load(g + e * out + v * LANES);
#pragma GCC unroll 16
    for (int c = 0; c < ROWS; ++c) {
      const float factor = x[e * in + c];
      for (int v = 0; v < VECS; ++v) sums[c][v] += factor * value[v];
    }
  }
  for (int c = 0; c < ROWS; ++c) {
    for (int v = 0; v < VECS; ++v) {
      float* at = w + c * out + v * LANES;
      store(at, load(at) + sums[c][v]);
    }
  }
}

// Adds `x^T g` of entries from `begin` on to rows of `w` from `first` on, in pieces that stay in the
// cache.
void outer(long begin, long end, const float* x, long in, const float* g, long out, long first,
           long last, float* w) {
  const long block = std::max(16L, 8192 / std::max(in, out));
  for (long e = begin; e < end; e += block) {
    const long n = std::min(block, end - e);
    for (long c = first; c < last; c += TILE) {
      const float *from = x + e * in + c, *grads = g + e * out;
      float* to = w + c * out;
      long o = 0;
      for (; o + 2 * LANES <= out; o += 2 * LANES) {
        outer<TILE, 2>(from, in, grads + o, out, n, to + o);
      }
      if (o < out) outer<TILE, 1>(from, in, grads + o, out, n, to + o);
    }
  }
}

// The sum of `x^T g` over a level's entries. Threads share its rows, or entries where rows are few.
void outer(const Program& program, long entries, const float* x, long in, const float* g, long out,
           float* w) {
  const int threads = program.threads_for(entries * in * out / 16);
  const bool by_rows = in >= 4 * threads * TILE;
  std::fill_n(w, in * out, 0.0f);
  std::vector<float> partial(by_rows ? 0 : (threads - 1) * in * out);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static, 1)
  for (int t = 0; t < threads; ++t) {
    const auto share = [&](long total) { return t * total / threads; };
    const auto until = [&](long total) { return (t + 1) * total / threads; };
    if (by_rows) {
      const long tiles = in / TILE;
      outer(0, entries, x, in, g, out, share(tiles) * TILE, until(tiles) * TILE, w);
    } else {
      float* total = t ? &partial[(t - 1) * in * out] : w;
      outer(share(entries), until(entries), x, in, g, out, 0, in, total);
    }
  }
  for (size_t begin = 0; begin < partial.size(); begin += in * out) {
    for (long e = 0; e < in * out; ++e) w[e] += partial[begin + e];
  }
}

}  // namespace
}  // namespace nfn

extern "C" void nfn_gather(const int64_t* program, long networks, int threads, float* const* params,
                           float* arena, long channels, int sums) {
  nfn::gather({program, networks, threads}, params, arena, channels, sums);
}

extern "C" void nfn_scatter(const int64_t* program, long networks, int threads, float* const* params,
                            float* arena, const float* const* weights, const float* bias, int adjoint,
                            long in, long out, float* const* results) {
  nfn::scatter({program, networks, threads}, params, arena, weights, bias, adjoint, in, out, results);
}

// Gradients of the weights from two gathered sides.
extern "C" void nfn_outer(const int64_t* program, long networks, int threads, float* const* params,
                          float* arena, long in, float* const* grads, float* grad_arena, long out,
                          float* const* weights) {
  const nfn::Program levels(program, networks, threads);
  const auto x = levels.place(params, arena, in), g = levels.place(grads, grad_arena, out);
  for (size_t i = 0; i < levels.levels.size(); ++i) {
    const nfn::Level& level = levels.levels[i];
    nfn::outer(levels, networks * level.entries(), x[i], level.width * in, g[i], level.width * out,
               weights[i]);
  }
}
