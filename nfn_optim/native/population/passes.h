// What a layer computes, forward and back.
#pragma once

#include <algorithm>

#include "layer.h"
#include "product.h"
#include "transpose.h"

namespace nfn {

inline void activate(Vec z, int64_t kind, float omega, Vec& y, Vec& slope) {
  const Vec one = all(1.0f);
  y = z, slope = one;
  if (kind == RELU) {
    y = z > 0 ? z : Vec{};
    slope = z > 0 ? one : Vec{};
  } else if (kind == TANH) {
    y = tanh(z);
    slope = one - y * y;
  } else if (kind == SINE) {
    sine(omega * z, y, slope);
    slope = omega * slope;
  } else if (kind == GELU) {
    const Vec below = normal_below(z);
    y = z * below;
    slope = below + z * (0.398942280f * exp(-0.5f * z * z));
  } else if (kind == SILU || kind == SIGMOID) {
    const Vec s = sigmoid(z);
    y = kind == SILU ? z * s : s;
    slope = s * (one - s) * (kind == SILU ? z : one) + (kind == SILU ? s : Vec{});
  }
}

template <long P, long V>
inline void product(const Layer& l, const float* x, const float* weight, long p, long c,
                    Vec (&sums)[P][V]) {
  const float *at[P], *rows = weight + c, *bias = rows + l.taps * l.out;
  for (long i = 0; i < P; ++i) {
    at[i] = x + l.base[p + i];
    for (long v = 0; v < V; ++v) sums[i][v] = load(bias + v * LANES);
  }
  const long* offset = l.offset.data();
  accumulate(sums, l.taps, rows, l.out, [&](long i, long t) { return at[i][offset[t]]; });
}

// Writes `y`, and its slopes `(place, out)`. `keep` are factors of the channels, `(sample, channel)`.
inline void forward(const Layer& l, float omega, const float* x, const float* weight,
                    const float* keep, float* y, float* slopes) {
  const Shape& s = l.shape;
  const long share = l.out_height * l.out_width;
  panels(l.out, [&](auto vecs, long c) {
    tiles<TILE>(l.places, [&](auto count, long p) {
      constexpr long P = decltype(count)::value, V = decltype(vecs)::value;
      Vec sums[P][V];
      product<P, V>(l, x, weight, p, c, sums);
      for (long i = 0; i < P; ++i) {
        const float* factors = keep ? keep + (p + i) / share * s.out : nullptr;
        for (long v = 0; v < V; ++v) {
          const long at = c + v * LANES;
          Vec value, slope;
          activate(sums[i][v], s.activation, omega, value, slope);
          if (factors) {
            const Vec factor = load(factors + at, s.out - at);
            value = value * factor, slope = slope * factor;
          }
          store(y + l.target[p + i] + at, value);
          if (slopes) store(slopes + (p + i) * l.out + at, slope);
        }
      }
    });
  });
}

// Adds up `x^T g` over places: a gradient `(tap, out)` and that of the bias behind it.
inline void correlate(const Layer& l, const float* x, const float* g, float* grad) {
  const long places = l.places, out = l.out, *base = l.base.data();
  panels(out, [&](auto vecs, long c) {
    constexpr long V = decltype(vecs)::value;
    tiles<TILE>(l.taps, [&](auto count, long t) {
      constexpr long T = decltype(count)::value;
      Vec sums[T][V] = {};
      long offset[T];
      for (long i = 0; i < T; ++i) offset[i] = l.offset[t + i];
      accumulate(sums, places, g + c, out, [&](long i, long p) { return x[base[p] + offset[i]]; });
      for (long i = 0; i < T; ++i) {
        for (long v = 0; v < V; ++v) store(grad + (t + i) * out + c + v * LANES, sums[i][v]);
      }
    });
    Vec sums[V] = {};
    for (long p = 0; p < places; ++p) {
      for (long v = 0; v < V; ++v) sums[v] += load(g + p * out + c + v * LANES);
    }
    for (long v = 0; v < V; ++v) store(grad + l.taps * out + c + v * LANES, sums[v]);
  });
}

// Gradient of the input from `g` of the places: `turned` is the weight as `(corner, output, input)`.
inline void spread(const Layer& l, const float* g, const float* turned, float* dx) {
  const long outs = l.shape.out, out = l.out, in = l.in, corners = l.corner.size();
  std::fill_n(dx, l.input_size, 0.0f);
  tiles<TILE>(l.places, [&](auto count, long p) {
    constexpr long P = decltype(count)::value;
    for (long k = 0; k < corners; ++k) {
      panels(in, [&](auto vecs, long c) {
        constexpr long V = decltype(vecs)::value;
        float* at[P];
        Vec sums[P][V];
        for (long i = 0; i < P; ++i) {
          at[i] = dx + l.base[p + i] + l.corner[k] + c;
          for (long v = 0; v < V; ++v) sums[i][v] = load(at[i] + v * LANES);
        }
        const float* factors = g + p * out;
        accumulate(sums, outs, turned + k * outs * in + c, in,
                   [&](long i, long o) { return factors[i * out + o]; });
        for (long i = 0; i < P; ++i) {
          for (long v = 0; v < V; ++v) store(at[i] + v * LANES, sums[i][v]);
        }
      });
    }
  });
}

// The same for the first layer, whose input keeps its channels outside; `weight` is `(tap, output)`.
inline void spread_outside(const Layer& l, const float* g, const float* weight, float* dx) {
  std::fill_n(dx, l.input_size, 0.0f);
  for (long p = 0; p < l.places; ++p, g += l.out) {
    float* at = dx + l.base[p];
    for (long t = 0; t < l.taps; ++t) {
      const float* w = weight + t * l.out;
      Vec total = {};
      for (long c = 0; c < l.out; c += LANES) total += load(g + c) * load(w + c);
      at[l.offset[t]] += sum(total);
    }
  }
}

inline void turn(const Layer& l, const float* weight, float* turned) {
  const long outs = l.shape.out, channels = l.shape.channels, corners = l.corner.size();
  for (long k = 0; k < corners; ++k) {
    transpose(weight + k * channels * l.out, l.out, channels, outs, turned + k * outs * l.in, l.in);
  }
}

}  // namespace nfn
