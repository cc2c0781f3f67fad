// A small network, its outputs and its gradient, for one batch that stays in the cache.
#pragma once

#include <cstring>
#include <vector>

#include "passes.h"

namespace nfn {

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

  // Copies the gradient of a sample out.
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
