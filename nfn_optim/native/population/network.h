// A small network, its loss and its gradient, for one batch that stays in the cache.
//
// Every layer is a convolution: a linear one has a kernel as large as its input. Maps are
// `(sample, row, column, channel)`, channels padded to whole registers; only what the first layer
// reads keeps its channels outside, `(sample, channel, row, column)`. A layer's weight is
// `(tap, output)`, a tap being one number that an output place reads.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "lanes.h"
#include "product.h"

namespace nfn {

constexpr long TILE = 6;  // places or taps whose sums stay in registers, two registers each

enum Activation { NONE, RELU, TANH, SINE };

// As the Python side writes it.
struct Shape {
  int64_t channels, height, width, kernel_height, kernel_width, stride, padding, out, activation,
      pooled, weight, bias;
};

template <long N>
struct Number {
  static constexpr long value = N;
};

// `f(Number, begin)` for tiles of `MOST`, and a last one of what is left.
template <long MOST, class F>
inline void tiles(long count, F f, long begin = 0) {
  for (; begin + MOST <= count; begin += MOST) f(Number<MOST>(), begin);
  if constexpr (MOST > 1) {
    if (begin < count) tiles<MOST - 1>(count, f, begin);
  }
}

// The same for columns, in pairs of registers.
template <class F>
inline void panels(long columns, F f) {
  long c = 0;
  for (; c + 2 * LANES <= columns; c += 2 * LANES) f(Number<2>(), c);
  if (c < columns) f(Number<1>(), c);
}

struct Layer {
  Shape shape;
  long batch, taps, places, out_height, out_width;
  long in, out;                        // channels in memory
  long input_size, sample, row, step;  // floats of the whole input; strides in it
  std::vector<long> base;              // where the window of each place of the batch begins
  std::vector<long> offset;            // where a tap is in a window
  std::vector<long> corner;            // where each position of the kernel is in a window
  std::vector<long> target;            // where each place is in what the next layer reads

  Layer(const Shape& s, long batch, bool is_first) : shape(s), batch(batch) {
    const long height = s.height + 2 * s.padding, width = s.width + 2 * s.padding;
    in = is_first ? s.channels : padded(s.channels);
    out = padded(s.out);
    step = is_first ? 1 : in;
    row = width * step, sample = height * width * in, input_size = batch * sample;
    const long channel = is_first ? height * width : 1;
    out_height = (height - s.kernel_height) / s.stride + 1;
    out_width = (width - s.kernel_width) / s.stride + 1;
    places = batch * out_height * out_width;
    for (long b = 0; b < batch; ++b) {
      for (long y = 0; y < out_height; ++y) {
        for (long x = 0; x < out_width; ++x) {
          base.push_back(b * sample + y * s.stride * row + x * s.stride * step);
        }
      }
    }
    for (long y = 0; y < s.kernel_height; ++y) {
      for (long x = 0; x < s.kernel_width; ++x) {
        corner.push_back(y * row + x * step);
        for (long c = 0; c < s.channels; ++c) offset.push_back(corner.back() + c * channel);
      }
    }
    taps = offset.size();
    for (long p = 0; p < places; ++p) target.push_back(p * out);
  }

  // The next layer reads what this one writes, within its border.
  void lead_to(const Layer& next) {
    if (shape.pooled) return;
    const Shape& s = next.shape;
    for (long p = 0; p < places; ++p) {
      const long x = p % out_width, y = p / out_width % out_height, b = p / out_width / out_height;
      target[p] = b * next.sample + (y + s.padding) * next.row + (x + s.padding) * next.step;
    }
  }

  long size() const { return (taps + 1) * out; }  // of weight and bias in memory

  // `f(where in memory, where in a row of parameters)` for all parameters.
  template <class F>
  void each(F f) const {
    const Shape& s = shape;
    const long kernel = s.kernel_height * s.kernel_width;
    for (long o = 0; o < s.out; ++o) {
      for (long k = 0; k < kernel; ++k) {
        for (long c = 0; c < s.channels; ++c) {
          f((k * s.channels + c) * out + o, s.weight + (o * s.channels + c) * kernel + k);
        }
      }
      f(taps * out + o, s.bias + o);
    }
  }
};

// Floats of one network's batch, in whole cache lines.
class Arena {
 public:
  float* take(long n) {
    n = padded(n, 16);
    blocks.emplace_back(n + 16, 0.0f);
    const uintptr_t at = reinterpret_cast<uintptr_t>(blocks.back().data());
    return reinterpret_cast<float*>((at + 63) / 64 * 64);
  }

 private:
  std::vector<std::vector<float>> blocks;
};

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

// What `g` of the places says of the input: `turned` is the weight as `(corner, output, input)`.
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
    for (long o = 0; o < outs; ++o) {
      const float* from = weight + k * channels * l.out + o;
      float* to = turned + (k * outs + o) * l.in;
      for (long c = 0; c < channels; ++c) to[c] = from[c * l.out];
    }
  }
}

// A network's layers and the memory that one batch of it takes.
class Network {
 public:
  std::vector<Layer> layers;
  std::vector<long> start;  // of each layer's parameters in memory
  long size = 0;

  Network(const Shape* shapes, long depth, long batch, float omega) : batch(batch), omega(omega) {
    for (long i = 0; i < depth; ++i) layers.emplace_back(shapes[i], batch, i == 0);
    for (long i = 0; i + 1 < depth; ++i) layers[i].lead_to(layers[i + 1]);
    for (const Layer& l : layers) {
      start.push_back(size), size += l.size();
      inputs.push_back(arena.take(l.input_size)), adjoints.push_back(arena.take(l.input_size));
      slopes.push_back(arena.take(l.places * l.out)), grads.push_back(arena.take(l.places * l.out));
      places.push_back(l.shape.pooled ? arena.take(l.places * l.out) : nullptr);
      turned.push_back(arena.take(l.corner.size() * l.shape.out * l.in));
    }
    outputs = arena.take(batch * layers.back().out);
  }

  // Floats of one sample outside.
  long sample() const {
    const Shape& s = layers[0].shape;
    return s.channels * s.height * s.width;
  }

  // Copies a sample, `(channel, row, column)`, into its place within the border.
  void read(const float* from, long b) {
    pieces(b, [&](long inside, long outside, long n) {
      std::memcpy(inputs[0] + inside, from + outside, n * sizeof(float));
    });
  }

  // Copies what `backward` says of a sample out of it.
  void write_adjoint(float* to, long b) const {
    pieces(b, [&](long inside, long outside, long n) {
      std::memcpy(to + outside, adjoints[0] + inside, n * sizeof(float));
    });
  }

  // Outputs `(sample, out)` of what was read; `keep` of all layers one after another, or null.
  const float* forward(const float* weights, const float* keep, bool backward_follows) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const Layer& l = layers[i];
      const bool drops = keep && l.shape.activation != NONE;
      float* next = i + 1 < layers.size() ? inputs[i + 1] : outputs;
      nfn::forward(l, omega, inputs[i], weights + start[i], drops ? keep : nullptr,
                   l.shape.pooled ? places[i] : next, backward_follows ? slopes[i] : nullptr);
      if (l.shape.pooled) pool(l, places[i], next);
      if (drops) keep += batch * l.shape.out;
    }
    return outputs;
  }

  // Gradients of all weights, as they lie in memory, from that of the outputs; without a place for
  // them that of the inputs.
  void backward(const float* weights, const float* adjoint, float* grad) {
    for (size_t i = layers.size(); i-- > 0;) {
      const Layer& l = layers[i];
      const float *from = i + 1 < layers.size() ? adjoints[i + 1] : adjoint, *slope = slopes[i];
      const long share = l.out_height * l.out_width;
      const float factor = l.shape.pooled ? 1.0f / share : 1.0f;
      float* g = grads[i];
      for (long p = 0; p < l.places; ++p, g += l.out, slope += l.out) {
        const float* at = from + (l.shape.pooled ? p / share * l.out : l.target[p]);
        for (long c = 0; c < l.out; c += LANES) {
          store(g + c, factor * load(at + c) * load(slope + c));
        }
      }
      if (grad) correlate(l, inputs[i], grads[i], grad + start[i]);
      if (i > 0) {
        turn(l, weights + start[i], turned[i]);
        spread(l, grads[i], turned[i], adjoints[i]);
      } else if (!grad) {
        spread_outside(l, grads[i], weights + start[i], adjoints[i]);
      }
    }
  }

 private:
  // `f(where in the input, where in the sample, floats)` for what lies together in both.
  template <class F>
  void pieces(long b, F f) const {
    const Layer& l = layers[0];
    const Shape& s = l.shape;
    const long begin = b * l.sample + s.padding * (l.row + 1);
    if (!s.padding) return f(begin, 0, l.sample);
    for (long c = 0; c < s.channels; ++c) {
      for (long y = 0; y < s.height; ++y) {
        f(begin + (c * (s.height + 2 * s.padding) + y) * l.row, (c * s.height + y) * s.width, s.width);
      }
    }
  }

  long batch;
  float omega;
  Arena arena;
  std::vector<float*> inputs, adjoints, slopes, grads, places, turned;
  float* outputs;

  static void pool(const Layer& l, const float* from, float* to) {
    const long share = l.out_height * l.out_width;
    for (long b = 0; b < l.batch; ++b, to += l.out) {
      for (long c = 0; c < l.out; c += LANES) {
        Vec total = {};
        for (long p = 0; p < share; ++p) total += load(from + (b * share + p) * l.out + c);
        store(to + c, total * (1.0f / share));
      }
    }
  }
};

}  // namespace nfn
