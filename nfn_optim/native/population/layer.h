// Where the numbers of a layer are, for one batch that stays in the cache.
//
// Every layer is a convolution: a linear one has a kernel as large as its input. Maps are
// `(sample, row, column, channel)`, channels padded to whole registers; only what the first layer
// reads keeps its channels outside, `(sample, channel, row, column)`. A layer's weight is
// `(tap, output)`, a tap being one number that an output place reads.
#pragma once

#include <cstdint>
#include <vector>

#include "lanes.h"
#include "tiles.h"

namespace nfn {

constexpr long TILE = 6;  // places or taps whose sums stay in registers, two registers each

enum Activation { NONE, RELU, TANH, SINE, GELU, SILU, SIGMOID };

// As the Python side writes it.
struct Shape {
  int64_t channels, height, width, kernel_height, kernel_width, stride, padding, out, activation,
      pooled, weight, bias;
};

// `f(Number, begin)` for columns, in pairs of registers and a last one.
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

  // `f(where in memory, where in the weight)` for all of it; biases lie behind, `taps * out` on.
  template <class F>
  void each_weight(F f) const {
    const Shape& s = shape;
    const long kernel = s.kernel_height * s.kernel_width;
    for (long o = 0; o < s.out; ++o) {
      for (long k = 0; k < kernel; ++k) {
        for (long c = 0; c < s.channels; ++c) {
          f((k * s.channels + c) * out + o, (o * s.channels + c) * kernel + k);
        }
      }
    }
  }
};

}  // namespace nfn
