// Channels of single entries: those that are read, and those of the hidden layer.
#pragma once

#include "lanes.h"
#include "parameter.h"

namespace nfn {

// What Adam divides by, inverted.
inline Vec adam_scale(const Parameter& p, Vec square) {
  return 1.0f / root(square * p.correct_square + TINY);
}

// Adam's direction of the entries from `e` on, zero beyond the first `n`.
inline Vec adams(const Parameter& p, long e, long n) {
  return load(p.momenta + e, n) * adam_scale(p, load(p.square + e, n)) * p.correct[0];
}

// Input channels of entries from `e` on, zero beyond the first `n`.
NFN_INLINE void channels(const Parameter& p, long e, long n, Vec* x) {
  const Vec square = load(p.square + e, n);
  const Vec scale = adam_scale(p, square);
  for (int k = 0; k < DECAYS; ++k) {
    const Vec momentum = load(p.momenta + k * p.apart + e, n);
    x[2 + k] = momentum * scale * p.correct[k];
    x[2 + DECAYS + k] = momentum * p.loudness[k];
  }
  x[0] = p.is_polar() ? load(p.direction.get() + e, n) : x[2];
  x[1] = load(p.grad + e, n) * scale;
  x[VALUE] = load(p.values + e, n) * p.size;
  x[3 + 2 * DECAYS] = 0.5f * log(square * p.level + 1e-6f);
  for (int c = 0; c < INPUTS; ++c) x[c] = first(clamp(x[c], -CLIP, CLIP), n);
}

// Those of a row from `e` on, which may be on a tape.
NFN_INLINE void channels_of_row(const Parameter& p, long row, long e, Vec* x) {
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

// Some channels of `PANEL` entries side by side, each `stride` floats after the one before.
struct Panel {
  const float* x;
  long stride;
};

// Calls `visit(e, x, means)` for all entries of a row, a panel at a time.
template <bool TAPS, class Visit>
inline void along(const Parameter& p, long row, Row& whole, Visit visit) {
  const long length = p.length();
  if (TAPS) whole.read(p, row);
  for (long e = 0; e < length; e += PANEL) {
    if (TAPS) {
      const Panel means{whole.means[0] + e, whole.means.stride};
      visit(e, Panel{whole.x[0] + e, whole.x.stride}, means);
      continue;
    }
    if (p.tape) {
      visit(e, Panel{p.taped(row, 0) + e, padded(length, PANEL)}, Panel{});
      continue;
    }
    float x[INPUTS * PANEL];
    for (long at = 0; at < PANEL; at += LANES) {
      Vec channel[INPUTS];
      channels(p, row * length + e + at, length - e - at, channel);
      for (int c = 0; c < INPUTS; ++c) store(x + c * PANEL + at, channel[c]);
    }
    visit(e, Panel{x, PANEL}, Panel{});
  }
}

// `COUNT` channels from `o` on, whose sums stay in registers.
template <bool TAPS, int COUNT, class Visit>
inline void hidden(const Layer& read, const Parameter& p, const Terms& terms, long row, long e,
                   Panel x, Panel means, int o, Visit& visit) {
  const float* weight = read.own_entry(p) + o * INPUTS;
  const float* taps = read.taps + o * INPUTS;
  Vec y[COUNT][2];
#pragma GCC unroll 8
  for (int i = 0; i < COUNT; ++i) {
    const float* columns = terms.columns[o + i] + e;
    const float of_row = terms.rows[o + i][row];
    y[i][0] = load(columns) + of_row, y[i][1] = load(columns + LANES) + of_row;
  }
  accumulate(y, INPUTS, x.x, x.stride, [=](long i, long c) { return weight[i * INPUTS + c]; });
  if (TAPS) {
    accumulate(y, INPUTS, means.x, means.stride,
               [=](long i, long c) { return taps[i * INPUTS + c]; });
  }
#pragma GCC unroll 8
  for (int i = 0; i < COUNT; ++i) {
    visit(o + i, y[i][0] > 0 ? y[i][0] : Vec{}, y[i][1] > 0 ? y[i][1] : Vec{});
  }
}

// Calls `visit(o, low, high)` with both halves of the hidden channels of the panel from `e` on.
template <bool TAPS, class Visit>
inline void hidden(const Layer& read, const Parameter& p, const Terms& terms, long row, long e,
                   Panel x, Panel means, Visit visit) {
  constexpr int COUNT = REGISTERS == 32 ? 8 : 4;
  int o = 0;
  for (; o + COUNT <= read.out; o += COUNT) {
    hidden<TAPS, COUNT>(read, p, terms, row, e, x, means, o, visit);
  }
  for (; o < read.out; ++o) hidden<TAPS, 1>(read, p, terms, row, e, x, means, o, visit);
}

}  // namespace nfn
