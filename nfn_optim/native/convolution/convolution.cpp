// Convolutions of many networks, each with its own kernels, by the passes of populations.
//
// Samples are worked on a few at a time, so that they stay in the cache.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "border.h"
#include "population/passes.h"

namespace nfn {
namespace {

constexpr long SAMPLES = 16;  // at a time

// Of all networks: samples `(n, b, c, height, width)`, kernels `(n, out, c, height, width)`, biases
// `(n, out)` or none, results `(n, b, out, height, width)`.
struct Tensors {
  const float *input, *weight, *bias;
};

struct Adjoints {
  const float* result;
  float *input, *weight, *bias;  // none where nobody asks
};

// The numbers of a sample `(channel, row, column)` in a layer's input, which has a border.
struct Grid {
  long channels, height, width, channel, row, step, border;

  template <class F>
  void each(F f) const {
    for (long c = 0; c < channels; ++c) {
      for (long y = 0; y < height; ++y) f((c * height + y) * width, border + c * channel + y * row);
    }
  }

  void read(const float* from, float* to) const {
    each([&](long outside, long inside) {
      for (long x = 0; x < width; ++x) to[inside + x * step] = from[outside + x];
    });
  }

  void write(const float* from, float* to) const {
    each([&](long outside, long inside) {
      for (long x = 0; x < width; ++x) to[outside + x] = from[inside + x * step];
    });
  }
};

// A layer for so many samples, and the memory that it takes.
class Convolution {
 public:
  // Channels lie outside, which takes less memory, except where adjoints of the input are asked for.
  Convolution(const Shape& shape, long samples, bool is_back)
      : layer(shape, samples, !is_back),
        grid{shape.channels, shape.height, shape.width, is_back ? 1 : layer.sample / layer.in,
             layer.row, layer.step, shape.padding * (layer.row + layer.step)},
        input(layer.input_size), back(is_back ? layer.input_size : 0),
        result(layer.places * layer.out) {}

  Layer layer;
  Grid grid;
  std::vector<float> input, back, result;

  long share() const { return layer.out_height * layer.out_width; }
  long sample() const { return grid.channels * grid.height * grid.width; }

  void read(const float* from) {
    for (long b = 0; b < layer.batch; ++b) {
      grid.read(from + b * sample(), input.data() + b * layer.sample);
    }
  }

  void forward(const float* weight, float* to) {
    nfn::forward(layer, 0, input.data(), weight, nullptr, result.data(), nullptr);
    const long outs = layer.shape.out, places = share();
    for (long b = 0; b < layer.batch; ++b, to += outs * places) {
      const float* from = result.data() + b * places * layer.out;
      for (long o = 0; o < outs; ++o) {
        for (long p = 0; p < places; ++p) to[o * places + p] = from[p * layer.out + o];
      }
    }
  }

  void read_adjoint(const float* from) {
    const long outs = layer.shape.out, places = share();
    for (long b = 0; b < layer.batch; ++b, from += outs * places) {
      float* to = result.data() + b * places * layer.out;
      for (long o = 0; o < outs; ++o) {
        for (long p = 0; p < places; ++p) to[p * layer.out + o] = from[o * places + p];
      }
    }
  }

  void spread(const float* turned, float* to) {
    nfn::spread(layer, result.data(), turned, back.data());
    for (long b = 0; b < layer.batch; ++b) {
      grid.write(back.data() + b * layer.sample, to + b * sample());
    }
  }
};

// Kernels and bias as a layer has them.
std::vector<float> lay(const Layer& l, const float* weight, const float* bias) {
  std::vector<float> laid(l.size());
  const long kernel = l.corner.size(), channels = l.shape.channels;
  for (long o = 0; o < l.shape.out; ++o) {
    for (long c = 0; c < channels; ++c) {
      for (long k = 0; k < kernel; ++k) laid[(k * channels + c) * l.out + o] = *weight++;
    }
    laid[l.taps * l.out + o] = bias ? bias[o] : 0;
  }
  return laid;
}

void put_back(const Layer& l, const std::vector<float>& laid, float* weight, float* bias) {
  const long kernel = l.corner.size(), channels = l.shape.channels;
  for (long o = 0; o < l.shape.out; ++o) {
    for (long c = 0; c < channels; ++c) {
      for (long k = 0; k < kernel; ++k) *weight++ = laid[(k * channels + c) * l.out + o];
    }
    bias[o] = laid[l.taps * l.out + o];
  }
}

// All samples of a batch, some at a time.
class Batch {
 public:
  Batch(const Shape& shape, long batch, bool is_back)
      : whole_(shape, std::min(batch, SAMPLES), is_back), count_(batch / whole_.layer.batch) {
    const long left = batch - count_ * whole_.layer.batch;
    if (left) rest_ = std::make_unique<Convolution>(shape, left, is_back);
  }

  const Layer& layer() const { return whole_.layer; }

  // `f(convolution, its first sample)`
  template <class F>
  void each(F f) {
    for (long i = 0; i < count_; ++i) f(whole_, i * whole_.layer.batch);
    if (rest_) f(*rest_, count_ * whole_.layer.batch);
  }

 private:
  Convolution whole_;
  std::unique_ptr<Convolution> rest_;
  long count_;
};

}  // namespace
}  // namespace nfn

extern "C" int nfn_convolve(const nfn::Shape* shape, long networks, long samples,
                            const nfn::Tensors* given, float* results) try {
  nfn::Batch batch(*shape, samples, false);
  const nfn::Layer& l = batch.layer();
  const long weights = l.taps * shape->out;
  for (long n = 0; n < networks; ++n) {
    const float* bias = given->bias ? given->bias + n * shape->out : nullptr;
    const std::vector<float> weight = nfn::lay(l, given->weight + n * weights, bias);
    batch.each([&](nfn::Convolution& part, long first) {
      const long at = n * samples + first;
      part.read(given->input + at * part.sample());
      part.forward(weight.data(), results + at * shape->out * part.share());
    });
  }
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}

extern "C" int nfn_convolve_back(const nfn::Shape* shape, long networks, long samples,
                                 const nfn::Tensors* given, const nfn::Adjoints* adjoints) try {
  nfn::Batch batch(*shape, samples, adjoints->input);
  const nfn::Layer& l = batch.layer();
  const long weights = l.taps * shape->out;
  std::vector<float> turned(l.corner.size() * shape->out * l.in), part_of(l.size());
  for (long n = 0; n < networks; ++n) {
    const std::vector<float> weight = nfn::lay(l, given->weight + n * weights, nullptr);
    std::vector<float> gradient(l.size());
    if (adjoints->input) nfn::turn(l, weight.data(), turned.data());
    batch.each([&](nfn::Convolution& part, long first) {
      const long at = n * samples + first;
      part.read(given->input + at * part.sample());
      part.read_adjoint(adjoints->result + at * shape->out * part.share());
      nfn::correlate(part.layer, part.input.data(), part.result.data(), part_of.data());
      for (size_t i = 0; i < gradient.size(); ++i) gradient[i] += part_of[i];
      if (adjoints->input) part.spread(turned.data(), adjoints->input + at * part.sample());
    });
    nfn::put_back(l, gradient, adjoints->weight + n * weights, adjoints->bias + n * shape->out);
  }
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}
