// Where parameters go: polar factors of the matrices that they are made of.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "parallel.h"
#include "parameter.h"
#include "polar.h"
#include "steep.h"

namespace nfn {

// One matrix of a parameter, which a polar factor is worked out of with its shorter side as rows.
struct Block {
  long rows, runs, length;             // a row is `runs` times `length` entries side by side
  long start, row_stride, run_stride;  // where they are in the parameter

  Block(const Parameter& p, long index) {
    const long inputs = p.inputs();
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
  long low() const { return std::min(rows, columns()); }
  long wide() const { return std::max(rows, columns()); }

  // Copies it from the parameter to a matrix of its own that lies.
  Matrix lay(const float* from) const {
    Matrix laid(low(), wide());
    for (long r = 0; r < runs; ++r) {
      const float* run = from + start + r * run_stride;
      if (stands()) {
        transpose(run, row_stride, rows, length, laid[r * length], laid.stride);
      } else {
        copy(run, row_stride, rows, length, laid[0] + r * length, laid.stride);
      }
    }
    return laid;
  }

  // Calls `visit(at, n, x)` for the rows from `begin` to `end` of a matrix that was laid so: its `n`
  // entries from `x` on are those of the parameter from `at` on.
  template <class Visit>
  void each_run(const Matrix& laid, long begin, long end, Visit visit) const {
    std::vector<float, Pooled<float>> turned;
    const float* from = laid[stands() ? 0 : begin];
    long stride = laid.stride;
    if (stands()) {
      turned.resize((end - begin) * columns());
      transpose(from + begin, stride, columns(), end - begin, turned.data(), columns());
      from = turned.data(), stride = columns();
    }
    for (long i = begin; i < end; ++i, from += stride) {
      for (long r = 0; r < runs; ++r) {
        visit(start + i * row_stride + r * run_stride, length, from + r * length);
      }
    }
  }
};

// One matrix of a parameter, laid: the momentum, and then where it points.
struct Pointing {
  Parameter* parameter;
  Block block;
  Matrix laid;
  std::vector<Band> bands;

  Pointing(Parameter& p, long index) : parameter(&p), block(p, index), index_(index) {}

  // The momentum, with what is remembered of those before, in bands.
  void prepare() {
    laid = block.lay(parameter->momenta);
    if (parameter->steep) {
      remember();
      steep_->follow_and_damp(laid, std::max(1 / *parameter->step, 1 - STEEP_DECAY));
    }
    bands = deal(laid, parameter->bands);
  }

  // What is left to be done with the polar factor.
  void finish() {
    if (steep_) steep_->damp(laid);
  }

 private:
  long index_;
  std::optional<Steep> steep_;

  // Memories stand in the order of blocks of outputs, then of inputs, each with outputs first.
  void remember() {
    const Parameter& p = *parameter;
    const long k = p.directions, outputs = p.is_turned ? block.columns() : block.rows;
    const long at = p.is_turned ? index_ % p.blocks[1] * p.blocks[0] + index_ / p.blocks[1] : index_;
    float* of_rows = p.steep + at * (block.rows + block.columns()) * k;
    float* of_columns = of_rows + outputs * k;
    if (p.is_turned != block.stands()) std::swap(of_rows, of_columns);
    steep_.emplace(of_rows, laid.rows, of_columns, laid.columns, k);
  }
};

// Some rows of a block.
struct Strip {
  const Pointing* of;
  long begin, end;
  double moved;
};

// Writes a direction of so many entries.
template <class Direction>
inline void keep(Direction direction, long count, float* to) {
  for (long e = 0; e < count; e += LANES) store(to + e, direction(e, count - e), count - e);
}

// Finds the directions of some matrices. `visit(p, at, count, direction)` takes those of so many
// entries from `at` on, where `direction(e, n)` are `n` of them, on several threads, and returns by
// how much they move, squared.
template <class Visit>
inline void point(std::vector<Pointing>& all, int threads, Visit visit) {
  in_parallel(all.size(), threads, [&](long i) { all[i].prepare(); });
  std::vector<const Band*> bands;
  for (const Pointing& one : all) {
    for (const Band& band : one.bands) bands.push_back(&band);
  }
  make_polar(bands, threads);
  in_parallel(all.size(), threads, [&](long i) { all[i].finish(); });
  constexpr long ROWS = 32;
  std::vector<Strip> strips;
  for (const Pointing& one : all) {
    for (long i = 0; i < one.block.rows; i += ROWS) {
      strips.push_back({&one, i, std::min(i + ROWS, one.block.rows), 0});
    }
  }
  in_parallel(strips.size(), threads, [&](long i) {
    Strip& strip = strips[i];
    Parameter& p = *strip.of->parameter;
    const auto take = [&](long at, long count, const float* x) {
      const float* momentum = p.momenta + at;  // what has none stays
      strip.moved += visit(p, at, count, [=](long e, long n) {
        return load(momentum + e, n) == 0 ? Vec{} : load(x + e, n);
      });
    };
    strip.of->block.each_run(strip.of->laid, strip.begin, strip.end, take);
  });
  for (const Strip& strip : strips) strip.of->parameter->moved += strip.moved;
}

// The same of all parameters that are made of matrices, some after others, so that what is worked
// with stays in the caches.
template <class Visit>
inline void point(std::vector<Parameter>& parameters, int threads, Visit visit) {
  constexpr long AT_ONCE = 1 << 20;  // entries
  std::vector<Pointing> some;
  long entries = 0;
  for (Parameter& p : parameters) {
    for (long b = 0; p.is_polar() && b < p.blocks[0] * p.blocks[1] * p.blocks[2]; ++b) {
      some.emplace_back(p, b);
    }
    if (p.is_polar()) entries += p.entries();
    if (entries >= AT_ONCE) point(some, threads, visit), some.clear(), entries = 0;
  }
  point(some, threads, visit);
}

}  // namespace nfn
