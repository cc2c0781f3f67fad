// Convolutions of many networks, each with its own kernels.
//
// Outside, all maps are `(network, sample, channel, row, column)`. A few registers of samples are
// worked on at a time, so that they stay in the cache.
#include "border.h"
#include "flush.h"
#include "kernels.h"

namespace nfn {
namespace {

constexpr long WIDE = 2;  // registers of samples that are worked on at a time

struct Tensors {
  const float *input, *weight, *bias, *result;  // `result` where it is rectified
};

struct Adjoints {
  const float* result;
  float *input, *weight, *bias;  // no input where nobody asks
};

// `f(Number of registers, first sample)` for all samples.
template <class F>
void pieces(long samples, F f) {
  for (long first = 0; first < samples; first += WIDE * LANES) {
    const long registers = (samples - first + LANES - 1) / LANES;
    choose<WIDE>(std::min(registers, WIDE), [&](auto size) { f(size, first); });
  }
}

std::vector<float> lay(const std::vector<long>& places, const float* numbers) {
  std::vector<float> laid(places.size());
  for (size_t n = 0; n < laid.size(); ++n) laid[places[n]] = numbers[n];
  return laid;
}

class Forward {
 public:
  Forward(const Shape& shape, bool is_rectified)
      : s(shape), is_rectified(is_rectified), reads(s.forward()), of_samples(s.of_samples(0)),
        of_weights(s.of_weights(false)), samples(s.inputs() * WIDE), found(s.results() * WIDE) {}

  void operator()(long n, const Tensors& given, float* results) {
    const std::vector<float> weight = lay(of_weights, given.weight + n * s.weights());
    const float* bias = given.bias ? given.bias + n * s.outs : nullptr;
    const Rows<const float> input{given.input + n * s.samples * s.inputs(), s.inputs(), s.samples};
    const Rows<float> result{results + n * s.samples * s.results(), s.results(), s.samples};
    const Maps from{samples.data(), s.inputs()}, to{found.data(), s.results()};
    pieces(s.samples, [&](auto size, long first) {
      constexpr long V = decltype(size)::value;
      for (long v = 0; v < V; ++v) read(input.from(first + v * LANES), nullptr, of_samples, from[v]);
      gather<V>(reads, from, weight.data(), s.outs, bias, is_rectified, to);
      for (long v = 0; v < V; ++v) write(to[v], result.from(first + v * LANES));
    });
  }

 private:
  const Geometry s;
  const bool is_rectified;
  const Reads reads;
  const std::vector<long> of_samples, of_weights;
  std::vector<Vec> samples, found;
};

class Backward {
 public:
  Backward(const Shape& shape, bool of_input)
      : s(shape), reads(of_input ? s.back() : Reads()), windows(s.windows()), of_samples(s.of_samples(s.padding)),
        of_results(s.of_results()), of_weights(s.of_weights(false)), turned(s.of_weights(true)),
        samples(s.framed() * WIDE), adjoint(s.results() * WIDE), found(s.inputs() * WIDE) {}

  void operator()(long n, const Tensors& given, const Adjoints& adjoints) {
    const long inputs = n * s.samples * s.inputs(), results = n * s.samples * s.results();
    const long weights = n * s.weights();
    const Rows<const float> input{given.input + inputs, s.inputs(), s.samples};
    const Rows<const float> result{adjoints.result + results, s.results(), s.samples};
    const std::vector<float> weight = lay(turned, given.weight + weights);
    const Maps x{samples.data(), s.framed()}, g{adjoint.data(), s.results()};
    const Maps to{found.data(), s.inputs()};
    std::vector<Vec> sums(s.weights()), totals(s.outs);
    pieces(s.samples, [&](auto size, long first) {
      constexpr long V = decltype(size)::value;
      for (long v = 0; v < V; ++v) {
        const long b = first + v * LANES;
        const float* mask = given.result ? given.result + results + b * s.results() : nullptr;
        read(input.from(b), nullptr, of_samples, x[v]);
        read(result.from(b), mask, of_results, g[v]);
        correlate(s, windows, x[v], g[v], sums.data());
        for (long p = 0; p < s.places; ++p) {
          for (long o = 0; o < s.outs; ++o) totals[o] += g[v][p * s.outs + o];
        }
      }
      if (!adjoints.input) return;
      gather<V>(reads, g, weight.data(), s.channels, nullptr, false, to);
      const Rows<float> outside{adjoints.input + inputs, s.inputs(), s.samples};
      for (long v = 0; v < V; ++v) write(to[v], outside.from(first + v * LANES));
    });
    for (long i = 0; i < s.weights(); ++i) adjoints.weight[weights + i] = sum(sums[of_weights[i]]);
    for (long o = 0; o < s.outs; ++o) adjoints.bias[n * s.outs + o] = sum(totals[o]);
  }

 private:
  const Geometry s;
  const Reads reads;
  const std::vector<long> windows, of_samples, of_results, of_weights, turned;
  std::vector<Vec> samples, adjoint, found;
};

}  // namespace
}  // namespace nfn

extern "C" int nfn_convolve(const nfn::Shape* shape, const nfn::Tensors* given, bool is_rectified,
                            float* results) try {
  const nfn::Flush flush;
  nfn::Forward forward(*shape, is_rectified);
  for (long n = 0; n < shape->networks; ++n) forward(n, *given, results);
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}

extern "C" int nfn_convolve_back(const nfn::Shape* shape, const nfn::Tensors* given,
                                 const nfn::Adjoints* adjoints) try {
  const nfn::Flush flush;
  nfn::Backward backward(*shape, adjoints->input);
  for (long n = 0; n < shape->networks; ++n) backward(n, *given, *adjoints);
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}
