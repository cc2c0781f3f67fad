// Where parameters go: polar factors of the matrices that they are made of.
#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

#include "parallel.h"
#include "parameter.h"
#include "polar.h"

namespace nfn {

// One matrix of a parameter, which a polar factor is worked out of with its shorter side as rows.
struct Block {
  long rows, runs, length;             // a row is `runs` times `length` entries side by side
  long start, row_stride, run_stride;  // where they are in the parameter

  Block(const Parameter& p, long index) {
    const long inputs = p.is_weight() ? p.columns : 1;  // of a kernel of single channels
    const long at[] = {index / (p.blocks[1] * p.blocks[2]), index / p.blocks[2] % p.blocks[1],
                       index % p.blocks[2]};
    const long columns = inputs / p.blocks[1], taps = p.taps / p.blocks[2];
    rows = p.neurons() / p.blocks[0];
    row_stride = inputs * p.taps, run_stride = p.taps;
    start = at[0] * rows * row_stride + at[1] * columns * p.taps + at[2] * taps;
    runs = p.blocks[2] == 1 ? 1 : columns;
    length = columns * taps / runs;
  }

  long columns() const { return runs * length; }
  bool stands() const { return rows > columns(); }
  bool lies_whole() const { return !stands() && runs == 1; }
  long low() const { return std::min(rows, columns()); }
  long wide() const { return std::max(rows, columns()); }

  // Copies it from the parameter to a matrix of its own that lies.
  void lay(const float* from, float* to) const {
    for (long r = 0; r < runs; ++r) {
      const float* run = from + start + r * run_stride;
      if (stands()) {
        transpose(run, row_stride, rows, length, to + r * length * rows, rows);
      } else {
        copy(run, row_stride, rows, length, to + r * length, columns());
      }
    }
  }

  // Calls `visit(at, n, x)` for the rows from `begin` to `end` of a matrix that was laid so: its `n`
  // entries from `x` on are those of the parameter from `at` on.
  template <class Visit>
  void each_run(const float* laid, long begin, long end, Visit visit) const {
    std::vector<float, Pooled<float>> turned;
    const float* from = laid + begin * columns();
    if (stands()) {
      turned.resize((end - begin) * columns());
      transpose(laid + begin, rows, columns(), end - begin, turned.data(), columns());
      from = turned.data();
    }
    for (long i = begin; i < end; ++i) {
      for (long r = 0; r < runs; ++r, from += length) {
        visit(start + i * row_stride + r * run_stride, length, from);
      }
    }
  }
};

// Some rows of a block that is laid.
struct Strip {
  Parameter* parameter;
  const Block* block;
  const float* laid;
  long begin, end;
  double moved;
};

// A parameter's momentum as matrices that lie, and their polar factors in its place.
struct Pointing {
  Parameter* parameter;
  std::vector<Block> blocks;
  Buffer laid;  // one block after another, where they do not lie so already

  explicit Pointing(Parameter& p) : parameter(&p) {
    const long count = p.blocks[0] * p.blocks[1] * p.blocks[2];
    for (long b = 0; b < count; ++b) blocks.emplace_back(p, b);
  }

  bool lies_whole() const { return blocks[0].lies_whole(); }

  void lay() {
    if (lies_whole()) return;
    laid = Buffer(parameter->entries());
    for (size_t b = 0; b < blocks.size(); ++b) blocks[b].lay(parameter->momenta, matrix(b));
  }

  float* matrix(size_t b) const { return laid.get() + b * parameter->entries() / blocks.size(); }

  std::vector<Band> bands() const {
    std::vector<Band> all;
    for (size_t b = 0; b < blocks.size(); ++b) {
      const Block& block = blocks[b];
      Rows rows{parameter->momenta + block.start, block.row_stride};
      if (!lies_whole()) rows = {matrix(b), block.wide()};
      std::vector<Band> dealt = deal(rows, block.low(), block.wide(), parameter->bands);
      std::move(dealt.begin(), dealt.end(), std::back_inserter(all));
    }
    return all;
  }

  std::vector<Strip> strips() const {
    constexpr long ROWS = 32;
    std::vector<Strip> all;
    for (size_t b = 0; laid.get() && b < blocks.size(); ++b) {
      for (long i = 0; i < blocks[b].rows; i += ROWS) {
        const long end = std::min(i + ROWS, blocks[b].rows);
        all.push_back({parameter, &blocks[b], matrix(b), i, end, 0});
      }
    }
    return all;
  }
};

// Writes a direction of so many entries.
template <class Direction>
inline void keep(Direction direction, long count, float* to) {
  for (long e = 0; e < count; e += LANES) store(to + e, direction(e, count - e), count - e);
}

// Finds the directions of some parameters, all made of matrices. `visit(p, at, count, direction)`
// takes those of so many entries from `at` on, where `direction(e, n)` are `n` of them, on several
// threads, and returns by how much they move, squared.
template <class Visit>
inline void point(std::vector<Pointing>& all, int threads, Visit visit) {
  const long count = all.size();
  std::vector<std::vector<Band>> bands(count);
  in_parallel(count, threads, [&](long i) {
    all[i].lay();
    bands[i] = all[i].bands();
  });
  std::vector<Turn> turns;
  for (long i = 0; i < count; ++i) {
    for (const Band& band : bands[i]) turns.push_back({&band, i, 0});
  }
  take_turns(turns, threads, [&](Turn& turn, long row, auto direction) {
    const Pointing& one = all[turn.parameter];
    const long count = turn.band->columns;
    float* own = turn.band->rows.at(row);
    if (one.laid.get()) {
      keep(direction, count, own);
    } else {
      turn.moved += visit(*one.parameter, own - one.parameter->momenta, count, direction);
    }
  });
  for (const Turn& turn : turns) all[turn.parameter].parameter->moved += turn.moved;
  std::vector<Strip> strips;
  for (const Pointing& one : all) {
    for (const Strip& strip : one.strips()) strips.push_back(strip);
  }
  in_parallel(strips.size(), threads, [&](long i) {
    Strip& strip = strips[i];
    strip.block->each_run(strip.laid, strip.begin, strip.end,
                          [&](long at, long count, const float* x) {
                            const auto direction = [x](long e, long n) { return load(x + e, n); };
                            strip.moved += visit(*strip.parameter, at, count, direction);
                          });
  });
  for (const Strip& strip : strips) strip.parameter->moved += strip.moved;
}

// The same of all parameters that are made of matrices, some after others, so that what is worked
// with stays in the caches.
template <class Visit>
inline void point(std::vector<Parameter>& parameters, int threads, Visit visit) {
  constexpr long AT_ONCE = 1 << 20;  // entries
  std::vector<Pointing> some;
  long entries = 0;
  for (Parameter& p : parameters) {
    if (p.is_polar()) some.emplace_back(p), entries += p.entries();
    if (entries >= AT_ONCE) point(some, threads, visit), some.clear(), entries = 0;
  }
  point(some, threads, visit);
}

}  // namespace nfn
