// Losses of a network's outputs, and their gradients.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "lanes.h"

namespace nfn {

// The mean cross-entropy, and its gradients `(sample, out)`; `class_of(sample)`.
template <class F>
inline double cross_entropy(const float* logits, long batch, long outs, float* grad, F class_of) {
  const long out = padded(outs);
  const float share = 1.0f / batch;
  double loss = 0;
  for (long b = 0; b < batch; ++b, logits += out, grad += out) {
    const float largest = *std::max_element(logits, logits + outs);
    float total = 0;
    for (long c = 0; c < out; c += LANES) {
      const Vec e = first(exp(load(logits + c) - largest), outs - c);
      total += sum(e);
      store(grad + c, e);
    }
    const Vec factor = all(share / total);
    for (long c = 0; c < out; c += LANES) store(grad + c, load(grad + c) * factor);
    const int64_t label = class_of(b);
    grad[label] -= share;
    loss += std::log(total) + (largest - logits[label]);
  }
  return loss / batch;
}

// The mean square of errors, and its gradients `(sample, out)`; `values_of(sample)`.
template <class F>
inline double mean_square(const float* found, long batch, long outs, float* grad, F values_of) {
  const long out = padded(outs);
  const float share = 2.0f / (batch * outs);
  double loss = 0;
  for (long b = 0; b < batch; ++b, found += out, grad += out) {
    const float* values = values_of(b);
    for (long c = 0; c < outs; ++c) {
      const float error = found[c] - values[c];
      grad[c] = share * error;
      loss += error * error;
    }
  }
  return loss / (batch * outs);
}

}  // namespace nfn
