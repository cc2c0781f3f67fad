// Where parameters go: polar factors of the matrices that they are made of.
#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

#include "border.h"
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

  // The inverse of `lay`.
  void put_back(const float* from, float* to) const {
    for (long r = 0; r < runs; ++r) {
      float* run = to + start + r * run_stride;
      if (stands()) {
        transpose(from + r * length * rows, rows, length, rows, run, row_stride);
      } else {
        copy(from + r * length, columns(), rows, length, run, row_stride);
      }
    }
  }
};

// A parameter's momentum as matrices that lie, and their polar factors in its place.
struct Pointing {
  Parameter* parameter;
  std::vector<Block> blocks;
  Buffer laid;  // one block after another, where they do not lie so already
  std::vector<Band> bands;

  explicit Pointing(Parameter& p) : parameter(&p) {
    const long count = p.blocks[0] * p.blocks[1] * p.blocks[2];
    for (long b = 0; b < count; ++b) blocks.emplace_back(p, b);
  }

  void open() {
    Parameter& p = *parameter;
    p.direction = Buffer(p.entries());
    const bool is_laid = blocks.size() == 1 && !blocks[0].stands();
    if (!is_laid) laid = Buffer(p.entries());
    const float* from = is_laid ? p.momenta : laid.get();
    float* to = is_laid ? p.direction.get() : laid.get();
    const long size = p.entries() / blocks.size();
    for (const Block& block : blocks) {
      if (!is_laid) block.lay(p.momenta, to);
      for (Band& band : deal(from, to, block.low(), block.wide(), p.bands)) {
        bands.push_back(std::move(band));
      }
      from += size, to += size;
    }
  }

  void close() {
    if (!laid.get()) return;
    const float* from = laid.get();
    for (const Block& block : blocks) {
      block.put_back(from, parameter->direction.get());
      from += parameter->entries() / blocks.size();
    }
  }
};

// Finds the directions of all parameters that are made of matrices.
inline void point(std::vector<Parameter>& parameters, int threads) {
  std::vector<Pointing> all;
  for (Parameter& p : parameters) {
    if (p.is_polar()) all.emplace_back(p);
  }
  const long count = all.size();
  Caught caught;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 1)
  for (long i = 0; i < count; ++i) caught.run([&] { all[i].open(); });
  caught.pass_on();
  std::vector<Band> bands;
  for (Pointing& one : all) {
    std::move(one.bands.begin(), one.bands.end(), std::back_inserter(bands));
  }
  polar_factors(std::move(bands), threads);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 1)
  for (long i = 0; i < count; ++i) all[i].close();
}

}  // namespace nfn
