// Parameters and layers of a step, and the pieces of them that threads share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "buffer.h"
#include "constants.h"
#include "matrix.h"

namespace nfn {

// Limits of meta-training, see `Limits` in rules/_limits.py, and numbers of `NFNRuleConfig`.
struct Settings {
  float horizon, memory, log_fan_in, log_fan_out, weight_size, relative, fading, initial_log_size, first_share,
      scaling;
  bool centred, careful;

  explicit Settings(const float* at)
      : horizon(at[0]), memory(at[1]), log_fan_in(at[2]), log_fan_out(at[3]), weight_size(at[4]),
        relative(at[5]), fading(at[6]), initial_log_size(at[7]), first_share(at[8]), scaling(at[9]),
        centred(at[10]), careful(at[11]) {}

  // Log of how much larger than at first steps become.
  float widest() const { return -std::log(first_share); }
};

constexpr int NUMBERS = 13, FANS = 5, TENSORS = 14;  // of a parameter, see `nfn_step`

struct Parameter {
  long rows, columns, taps;
  int out, source;  // populations; no source for a vector
  bool is_turned;   // inputs are rows
  bool is_flipped = false;  // its tensors have columns as rows
  long blocks[3];  // of outputs, inputs and taps: matrices; none where these are zero
  long bands;      // of each of them
  bool has_taps;   // axes of taps, be it a single one
  int kept;        // momenta, the shortest first; there is no square where it is null
  long directions; // that are remembered on either side of each matrix, in `steep` if not null
  float fans[FANS];
  float *values, *momenta, *square, *lead, *step, *loud, *loudest, *opened, *agreed, *asked, *steep;
  const float *grad, *num_steps, *start;
  float rate, keep;

  float correct[DECAYS], correct_square, level, loudness[DECAYS], size, context[CONTEXT];
  float trend[TREND], log_size, recency, trust;
  float shrinking = 0;  // share of a matrix that a step takes from it, or adds where it is negative
  float pace, following;  // what these come to where layers write nothing
  double moved = 0;
  Buffer direction;
  long apart;             // floats from one momentum to the next
  float* tape = nullptr;  // what the way back needs of the entries, see `taped`

  Parameter(const int64_t* layout, const float* of_fans, void* const* tensors, const double* rates)
      : rows(layout[0]), columns(layout[1]), taps(layout[2]), out(static_cast<int>(layout[3])),
        source(static_cast<int>(layout[4])), is_turned(layout[5]),
        blocks{layout[6], layout[7], layout[8]}, bands(layout[9]),
        has_taps(layout[10]), kept(static_cast<int>(layout[11])),
        directions(layout[12]), rate(static_cast<float>(rates[0])), keep(static_cast<float>(rates[1])) {
    std::copy_n(of_fans, FANS, fans);
    float* const* at = reinterpret_cast<float* const*>(tensors);
    values = at[0], grad = at[1], momenta = at[2], square = at[3], lead = at[4], step = at[5];
    num_steps = at[6], start = at[7];
    loud = at[8], loudest = at[9], opened = at[10], agreed = at[11], asked = at[12], steep = at[13];
    apart = entries();
  }

  bool is_weight() const { return source >= 0; }
  long length() const { return columns * taps; }
  long entries() const { return rows * length(); }
  bool is_polar() const { return blocks[0] > 0; }
  long neurons() const { return is_weight() ? rows : columns; }  // of the output axis
  long inputs() const { return is_weight() ? columns : 1; }  // a kernel of single channels has one

  // Numbers in `steep`, for all its matrices.
  long remembered() const {
    const long of_outputs = blocks[1] * blocks[2] * neurons(), of_inputs = blocks[0] * inputs() * taps;
    return (of_outputs + of_inputs) * directions;
  }

  // Where a row's channels are kept, in whole panels, and behind these what the last layer writes.
  float* taped(long row, int channel) const {
    return tape + (row * (INPUTS + WRITTEN) + channel) * padded(length(), PANEL);
  }
};

// Meta-parameters of a `SharedNPLinear`.
struct Layer {
  int in, out;
  const float *entry, *vector, *taps, *own, *neurons, *network, *bias;
  std::vector<float> entry_and_tap, vector_and_tap;  // of kernels of a single tap, their own mean

  Layer(int in, int out, const float* const* at)
      : in(in), out(out), entry(at[0]), vector(at[1]), taps(at[2]), own(at[3]), neurons(at[4]),
        network(at[5]), bias(at[6]), entry_and_tap(entry, entry + in * out),
        vector_and_tap(vector, vector + in * out) {
    for (int i = 0; i < in * out; ++i) entry_and_tap[i] += taps[i], vector_and_tap[i] += taps[i];
  }

  // The map of an entry itself.
  const float* own_entry(const Parameter& p) const {
    if (p.has_taps && p.taps == 1) return (p.is_weight() ? entry_and_tap : vector_and_tap).data();
    return p.is_weight() ? entry : vector;
  }

  bool is_zero() const {
    const auto zero = [this](const float* weights, long maps) {
      return std::all_of(weights, weights + maps * out, [](float w) { return w == 0; });
    };
    return zero(entry, in) && zero(vector, in) && zero(taps, in) && zero(own, 2 * in) &&
           zero(neurons, 9 * in) && zero(network, 2 * (3 * in + CONTEXT)) && zero(bias, 2);
  }
};

struct Network {
  std::vector<Parameter> parameters;
  std::vector<long> sizes;  // of populations
};

// Some rows of a parameter, and sums over them.
struct Piece {
  int parameter;
  long begin, end;
  double sums[SUMS];
  double moved;
  Matrix columns;  // sums over the rows, a row for every channel
};

// Means of one parameter, a row for every channel.
struct Means {
  Matrix rows, columns;
};

// What is added to a parameter's channels, a row for each; over taps the same.
struct Terms {
  Matrix rows, columns;
};

// Pieces for each thread: about the same number of entries, in whole rows.
inline std::vector<std::vector<Piece>> share(const std::vector<Parameter>& parameters, int threads) {
  long total = 0, seen = 0;
  for (const Parameter& p : parameters) total += p.entries();
  threads = static_cast<int>(std::min<long>(threads, 1 + total / 8192));
  std::vector<std::vector<Piece>> shares(std::max(1, threads));
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    for (long row = 0; row < p.rows;) {
      const size_t t = std::min<size_t>(seen * shares.size() / total, shares.size() - 1);
      const long until = (static_cast<long>(t) + 1) * total / shares.size();
      long rows = std::max(1L, (until - seen + p.length() - 1) / p.length());
      if (t + 1 == shares.size()) rows = p.rows;
      const long end = std::min(p.rows, row + rows);
      shares[t].push_back({static_cast<int>(i), row, end, {}, 0, {}});
      seen += (end - row) * p.length();
      row = end;
    }
  }
  return shares;
}

}  // namespace nfn
