// Trains small networks, each for all its steps before the next: weights, moments and the
// activations of a batch stay in the cache.

#include <optional>

#include "border.h"
#include "flush.h"
#include "losses.h"
#include "network.h"

namespace nfn {
namespace {

// As the Python side writes it. Strides count a network's items; 0 where all networks share them.
struct Task {
  const Shape* layers;
  int64_t depth, networks, parameters, batch, threads;
  float omega;
  const float* inputs;  // (sample, *shape)
  int64_t inputs_stride;
  const void* targets;  // classes, int64 (sample,), or values, float (sample, out)
  int64_t targets_stride, has_classes;
};

struct Training {
  int64_t steps, first_step, keep_size;
  const int64_t* index;  // samples (network, step, batch)
  const float* keep;     // (network, step, keep_size), or null
  const float *lr, *rates, *l2, *masks;  // (network,), (step,), (network,) or null, rows or null
  int64_t is_adam;
  double beta, beta_square, eps;  // of SGD only `beta`, the momentum
  float *weights, *moments, *squares;  // rows of all parameters, `squares` null for SGD
};

// A row of parameters as it lies in memory while it is trained.
class Row {
 public:
  Row(const Network& network, float* outside) : network(network), outside(outside) {
    inside.assign(outside ? network.size : 0, 0.0f);
    each([](float& in, float& out) { in = out; });
  }

  float* data() { return inside.data(); }

  void write_back() {
    each([](float& in, float& out) { out = in; });
  }

 private:
  const Network& network;
  float* outside;
  std::vector<float> inside;

  template <class F>
  void each(F f) {
    for (size_t i = 0; outside && i < network.layers.size(); ++i) {
      const Layer& l = network.layers[i];
      float *start = &inside[network.start[i]], *bias = start + l.taps * l.out;
      l.each_weight([&](long in, long out) { f(start[in], outside[l.shape.weight + out]); });
      for (long o = 0; o < l.shape.out; ++o) f(bias[o], outside[l.shape.bias + o]);
    }
  }
};

void adam(const Training& t, double rate, double step, const float* grad, long n, float* weight,
          float* moment, float* square) {
  const double whole = std::sqrt(1 - std::pow(t.beta_square, step));
  const float lr = rate * whole / (1 - std::pow(t.beta, step)), eps = t.eps * whole;
  const float rest = 1 - t.beta, beta_square = t.beta_square, rest_square = 1 - t.beta_square;
  for (long i = 0; i < n; i += LANES) {
    const Vec g = load(grad + i), m = load(moment + i);
    const Vec mean = m + rest * (g - m);
    const Vec mean_square = beta_square * load(square + i) + rest_square * g * g;
    store(moment + i, mean);
    store(square + i, mean_square);
    store(weight + i, load(weight + i) - lr * (mean / (root(mean_square) + eps)));
  }
}

void descend(const Training& t, float lr, const float* grad, long n, float* weight, float* moment) {
  const float beta = t.beta;
  for (long i = 0; i < n; i += LANES) {
    const Vec mean = beta * load(moment + i) + load(grad + i);
    store(moment + i, mean);
    store(weight + i, load(weight + i) - lr * mean);
  }
}

// Gradients of one network's loss, step by step. Of masked weights only the product is used.
class Gradient {
 public:
  Gradient(const Task& task, const Training& training, long n, Network& network, Row& masks)
      : task(task), training(training), n(n), network(network), masks(masks),
        grad(network.size), adjoint(task.batch * padded(outs())),
        masked(training.masks ? network.size : 0) {}

  const float* of(const float* weights, long k) {
    const long size = network.size, batch = task.batch, at = n * training.steps + k;
    for (long e = 0; training.masks && e < size; ++e) masked[e] = weights[e] * masks.data()[e];
    if (training.masks) weights = masked.data();
    const int64_t* index = training.index + at * batch;
    const float* inputs = task.inputs + n * task.inputs_stride;
    for (long b = 0; b < batch; ++b) network.read(inputs + index[b] * network.sample(), b);
    const float* keep = training.keep ? training.keep + at * training.keep_size : nullptr;
    differentiate(network.forward(weights, keep, true), index);
    network.backward(weights, adjoint.data(), grad.data());
    if (training.l2) shrink(weights);
    for (long e = 0; training.masks && e < size; ++e) grad[e] *= masks.data()[e];
    return grad.data();
  }

 private:
  const Task& task;
  const Training& training;
  const long n;
  Network& network;
  Row& masks;
  std::vector<float> grad, adjoint, masked;

  long outs() const { return network.layers.back().shape.out; }

  // Gradient of the loss with respect to the outputs.
  void differentiate(const float* found, const int64_t* index) {
    if (task.has_classes) {
      const int64_t* classes = static_cast<const int64_t*>(task.targets) + n * task.targets_stride;
      cross_entropy(found, task.batch, outs(), adjoint.data(), [&](long b) { return classes[index[b]]; });
    } else {
      const float* values = static_cast<const float*>(task.targets) + n * task.targets_stride;
      mean_square(found, task.batch, outs(), adjoint.data(),
                  [&](long b) { return values + index[b] * outs(); });
    }
  }

  // Adds the gradient of L2 to that of the weights; biases are behind them.
  void shrink(const float* weights) {
    const float twice = 2 * training.l2[n];
    for (size_t i = 0; i < network.layers.size(); ++i) {
      const Layer& l = network.layers[i];
      const long begin = network.start[i], end = begin + l.taps * l.out;
      for (long e = begin; e < end; ++e) grad[e] += twice * weights[e];
    }
  }
};

// All steps of one network.
void train(const Task& task, const Training& t, long n, Network& network) {
  const auto row = [&](float* rows) { return rows ? rows + n * task.parameters : nullptr; };
  Row weights(network, row(t.weights)), moments(network, row(t.moments));
  Row squares(network, row(t.squares)), masks(network, row(const_cast<float*>(t.masks)));
  Gradient gradient(task, t, n, network, masks);
  for (long k = 0; k < t.steps; ++k) {
    const float* grad = gradient.of(weights.data(), k);
    const float lr = t.lr[n] * t.rates[k];
    if (t.is_adam) {
      adam(t, lr, t.first_step + k + 1, grad, network.size, weights.data(), moments.data(),
           squares.data());
    } else {
      descend(t, lr, grad, network.size, weights.data(), moments.data());
    }
  }
  weights.write_back(), moments.write_back(), squares.write_back();
}

// Outputs `(network, sample, out)` for the first samples of each network, in pieces of a batch.
void evaluate(const Task& task, float* rows, long count, long n, Network& network, float* outputs) {
  Row weights(network, rows + n * task.parameters);
  const long outs = network.layers.back().shape.out;
  const float* inputs = task.inputs + n * task.inputs_stride;
  for (long begin = 0; begin < count; begin += task.batch) {
    const long size = std::min<long>(task.batch, count - begin);
    for (long b = 0; b < size; ++b) network.read(inputs + (begin + b) * network.sample(), b);
    const float* found = network.forward(weights.data(), nullptr, false);
    for (long b = 0; b < size; ++b) {
      std::copy_n(found + b * padded(outs), outs, outputs + ((n * count) + begin + b) * outs);
    }
  }
}

// Gradients `(network, sample, *shape)` of the inputs that all networks share, from those of their
// outputs.
void trace_back(const Task& task, float* rows, long count, long n, Network& network,
                const float* adjoints, float* grads) {
  Row weights(network, rows + n * task.parameters);
  const long outs = network.layers.back().shape.out, sample = network.sample();
  std::vector<float> adjoint(task.batch * padded(outs));
  for (long begin = 0; begin < count; begin += task.batch) {
    const long size = std::min<long>(task.batch, count - begin);
    for (long b = 0; b < size; ++b) {
      network.read(task.inputs + (begin + b) * sample, b);
      std::copy_n(adjoints + (n * count + begin + b) * outs, outs, &adjoint[b * padded(outs)]);
    }
    network.forward(weights.data(), nullptr, true);
    network.backward(weights.data(), adjoint.data(), nullptr);
    for (long b = 0; b < size; ++b) {
      network.write_adjoint(grads + (n * count + begin + b) * sample, b);
    }
  }
}

template <class F>
void each_network(const Task& task, F f) {
  const int threads = std::max<long>(1, std::min(task.threads, task.networks));
  Caught caught;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::optional<Network> network;
    caught.run([&] { network.emplace(task.layers, task.depth, task.batch, task.omega); });
#pragma omp for schedule(dynamic, 1)
    for (long n = 0; n < task.networks; ++n) {
      if (!network) continue;
      caught.run([&] {
        const Flush flush;
        f(n, *network);
      });
    }
  }
  caught.pass_on();
}

}  // namespace
}  // namespace nfn

extern "C" int nfn_train(const nfn::Task* task, const nfn::Training* training) try {
  nfn::each_network(*task, [&](long n, nfn::Network& network) {
    nfn::train(*task, *training, n, network);
  });
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}

extern "C" int nfn_evaluate(const nfn::Task* task, float* weights, int64_t count,
                            float* outputs) try {
  nfn::each_network(*task, [&](long n, nfn::Network& network) {
    nfn::evaluate(*task, weights, count, n, network, outputs);
  });
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}

extern "C" int nfn_trace_back(const nfn::Task* task, float* weights, int64_t count,
                              const float* adjoints, float* grads) try {
  nfn::each_network(*task, [&](long n, nfn::Network& network) {
    nfn::trace_back(*task, weights, count, n, network, adjoints, grads);
  });
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}
