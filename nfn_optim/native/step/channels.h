// Channels of single entries: those that are read, and those of the hidden layer.
#pragma once

#include "lanes.h"
#include "parameter.h"

namespace nfn {

// What Adam divides by, inverted.
inline Vec adam_scale(const Parameter& p, Vec square) {
  return 1.0f / root(square * p.correct_square + TINY);
}

// Where the entries from `e` on are to go: the first channel by itself.
inline Vec direction(const Parameter& p, long e, long n) {
  if (p.is_polar()) return clamp(load(p.direction.get() + e, n), -CLIP, CLIP);
  const Vec scale = adam_scale(p, load(p.square + e, n));
  return clamp(load(p.momenta + e, n) * scale * p.correct[0], -CLIP, CLIP);
}

// Input channels of entries from `e` on, zero beyond the first `n`.
inline void channels(const Parameter& p, long e, long n, Vec* x) {
  const Vec square = load(p.square + e, n);
  const Vec scale = adam_scale(p, square);
  for (int k = 0; k < DECAYS; ++k) {
    const Vec momentum = load(p.momenta + k * p.apart + e, n);
    x[2 + k] = momentum * scale * p.correct[k];
    x[2 + DECAYS + k] = momentum * p.loudness[k];
  }
  x[0] = p.is_polar() ? load(p.direction.get() + e, n) : x[2];
  x[1] = load(p.grad + e, n) * scale;
  x[2 + 2 * DECAYS] = load(p.values + e, n) * p.size;
  x[3 + 2 * DECAYS] = 0.5f * log(square * p.level + 1e-6f);
  for (int c = 0; c < INPUTS; ++c) x[c] = first(clamp(x[c], -CLIP, CLIP), n);
}

// Those of a row from `e` on, which may be on a tape.
inline void channels_of_row(const Parameter& p, long row, long e, Vec* x) {
  if (!p.tape) return channels(p, row * p.length() + e, p.length() - e, x);
  for (int c = 0; c < INPUTS; ++c) x[c] = load(p.taped(row, c) + e);
}

// `TAPS` of them where the compiler is to know; `from` may be `to`.
template <int TAPS>
inline void average(const float* from, float* to, long columns, long taps) {
  if (TAPS) taps = TAPS;
  for (long i = 0; i < columns; ++i, from += taps, to += taps) {
    float total = 0;
    for (long t = 0; t < taps; ++t) total += from[t];
    total /= taps;
    for (long t = 0; t < taps; ++t) to[t] = total;
  }
}

// Means over taps, spread over taps again.
inline void average(const float* from, float* to, long columns, long taps) {
  taps == 9 ? average<9>(from, to, columns, taps) : average<0>(from, to, columns, taps);
}

// Input channels of a whole row, and their means over taps.
struct Row {
  Matrix x, means;
  explicit Row(long length) : x(INPUTS, length), means(INPUTS, length) {}

  void read(const Parameter& p, long row) {
    const long length = p.length();
    for (long e = 0; e < length; e += LANES) {
      Vec channel[INPUTS];
      channels_of_row(p, row, e, channel);
      for (int c = 0; c < INPUTS; ++c) store(x[c] + e, channel[c]);
    }
    for (int c = 0; c < INPUTS; ++c) average(x[c], means[c], p.columns, p.taps);
  }
};

// Calls `visit(e, x, means)` for all entries of a row, some at once.
template <bool TAPS, class Visit>
inline void along(const Parameter& p, long row, Row& whole, Visit visit) {
  const long length = p.length();
  if (TAPS) whole.read(p, row);
  for (long e = 0; e < length; e += LANES) {
    Vec x[INPUTS], means[INPUTS];
    if (TAPS) {
      for (int c = 0; c < INPUTS; ++c) {
        x[c] = load(whole.x[c] + e);
        means[c] = load(whole.means[c] + e);
      }
    } else {
      channels_of_row(p, row, e, x);
    }
    visit(e, x, means);
  }
}

// `COUNT` channels from `o` on side by side, as every sum waits for its last product.
template <bool TAPS, int COUNT, class Visit>
inline void hidden(const Layer& read, const Parameter& p, const Terms& terms, long row, long e,
                   const Vec* x, const Vec* means, int o, Visit& visit) {
  const float* weight = read.own_entry(p) + o * INPUTS;
  const float* taps = read.taps + o * INPUTS;
  Vec y[COUNT];
#pragma GCC unroll 4
  for (int i = 0; i < COUNT; ++i) y[i] = load(terms.columns[o + i] + e) + terms.rows[o + i][row];
#pragma GCC unroll 10
  for (int c = 0; c < INPUTS; ++c) {
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i) {
      y[i] += weight[i * INPUTS + c] * x[c];
      if (TAPS) y[i] += taps[i * INPUTS + c] * means[c];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < COUNT; ++i) visit(o + i, y[i] > 0 ? y[i] : Vec{});
}

// Calls `visit(o, channel)` with the hidden channels of the entries from `e` on.
template <bool TAPS, class Visit>
inline void hidden(const Layer& read, const Parameter& p, const Terms& terms, long row, long e,
                   const Vec* x, const Vec* means, Visit visit) {
  int o = 0;
  for (; o + 4 <= read.out; o += 4) hidden<TAPS, 4>(read, p, terms, row, e, x, means, o, visit);
  for (; o < read.out; ++o) hidden<TAPS, 1>(read, p, terms, row, e, x, means, o, visit);
}

}  // namespace nfn
