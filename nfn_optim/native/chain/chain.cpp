// Losses of many networks, each a chain of layers, and their gradients, by the passes of populations.

#include <algorithm>
#include <cstring>

#include "border.h"
#include "flush.h"
#include "population/losses.h"
#include "population/network.h"

namespace nfn {
namespace {

// As the Python side writes it.
struct Task {
  const Shape* layers;
  int64_t depth, networks, batches, batch;  // network `i` sees batch `i % batches`
  const float* inputs;                      // (batches, batch, *shape)
  const void* targets;                      // classes, int64 (batches, batch), or values, float
  int64_t has_classes;
};

// Weight and bias of a layer, or where their gradients go; `(network, *stored)`, a bias may be null.
template <class T>
struct Parameters {
  T *weight, *bias;
};

// Whether there is an infinity or no number: the compiler was told that there are none.
bool is_special(const float* numbers, long n) {
  int32_t found = 0;
  for (long i = 0; i < n; ++i) {
    int32_t bits;
    std::memcpy(&bits, numbers + i, sizeof bits);
    found |= (bits & 0x7f800000) == 0x7f800000;
  }
  return found;
}

float no_number() {
  const int32_t bits = 0x7fc00000;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

class Chain {
 public:
  explicit Chain(const Task& task)
      : task(task), network(task.layers, task.depth, task.batch, 1.0f), weights(network.size),
        grad(network.size), adjoint(task.batch * padded(outs())) {}

  // The loss of network `n`; where `of_weights` is there, its gradients are written.
  float run(long n, const Parameters<const float>* params, const Parameters<float>* of_params) {
    read(n, params);
    const long own = n % task.batches, sample = network.sample();
    const float* inputs = task.inputs + own * task.batch * sample;
    bool special = is_special(weights.data(), network.size);
    special |= is_special(inputs, task.batch * sample);
    for (long b = 0; b < task.batch; ++b) network.read(inputs + b * sample, b);
    const float* found = network.forward(weights.data(), nullptr, of_params != nullptr);
    special |= is_special(found, task.batch * padded(outs()));
    const float loss = special ? no_number() : measure(found, own * task.batch);
    if (of_params) {
      if (special) {
        std::fill(grad.begin(), grad.end(), no_number());
      } else {
        network.backward(weights.data(), adjoint.data(), grad.data());
      }
      write(n, of_params);
    }
    return loss;
  }

  // Whether every sample's class has an output.
  bool has_outputs() const {
    const int64_t* classes = static_cast<const int64_t*>(task.targets);
    const long count = task.has_classes ? task.batches * task.batch : 0;
    return std::all_of(classes, classes + count, [&](int64_t c) { return 0 <= c && c < outs(); });
  }

 private:
  const Task& task;
  Network network;
  std::vector<float> weights, grad, adjoint;

  long outs() const { return network.layers.back().shape.out; }

  float measure(const float* found, long first) {
    const int64_t* classes = static_cast<const int64_t*>(task.targets) + first;
    const float* values = static_cast<const float*>(task.targets) + first * outs();
    if (!task.has_classes) {
      return mean_square(found, task.batch, outs(), adjoint.data(),
                         [&](long b) { return values + b * outs(); });
    }
    return cross_entropy(found, task.batch, outs(), adjoint.data(), [&](long b) { return classes[b]; });
  }

  void read(long n, const Parameters<const float>* params) {
    for (size_t i = 0; i < network.layers.size(); ++i) {
      const Layer& l = network.layers[i];
      const float* from = params[i].weight + n * l.taps * l.shape.out;
      float *to = &weights[network.start[i]], *bias = to + l.taps * l.out;
      if (is_matrix(l)) {
        transpose(from, l.taps, l.shape.out, l.taps, to, l.out);
      } else {
        l.each_weight([&](long inside, long outside) { to[inside] = from[outside]; });
      }
      if (params[i].bias) std::copy_n(params[i].bias + n * l.shape.out, l.shape.out, bias);
    }
  }

  void write(long n, const Parameters<float>* of_params) {
    for (size_t i = 0; i < network.layers.size(); ++i) {
      const Layer& l = network.layers[i];
      const float *from = &grad[network.start[i]], *bias = from + l.taps * l.out;
      float* to = of_params[i].weight + n * l.taps * l.shape.out;
      if (is_matrix(l)) {
        transpose(from, l.out, l.taps, l.shape.out, to, l.taps);
      } else {
        l.each_weight([&](long inside, long outside) { to[outside] = from[inside]; });
      }
      if (of_params[i].bias) std::copy_n(bias, l.shape.out, of_params[i].bias + n * l.shape.out);
    }
  }

  // Whether taps lie outside in the order in which they do in memory.
  static bool is_matrix(const Layer& l) { return l.shape.channels == 1 || l.corner.size() == 1; }
};

}  // namespace
}  // namespace nfn

// Losses `(network,)`, and gradients unless there is no place for them. Not done, and nothing is
// written, where a sample has a class without an output.
extern "C" int nfn_chain(const nfn::Task* task, const nfn::Parameters<const float>* params,
                         const nfn::Parameters<float>* of_params, float* losses,
                         bool* is_done) try {
  const nfn::Flush flush;
  nfn::Chain chain(*task);
  *is_done = chain.has_outputs();
  for (long n = 0; *is_done && n < task->networks; ++n) losses[n] = chain.run(n, params, of_params);
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}
