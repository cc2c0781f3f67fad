// Gradients of losses with respect to a network's outputs.
#pragma once

#include <algorithm>
#include <cstdint>

#include "lanes.h"

namespace nfn {

// Gradients `(sample, out)` of the mean cross-entropy.
inline void cross_entropy(const float* logits, const int64_t* classes, const int64_t* index, long batch,
                          long outs, float* grad) {
  const long out = padded(outs);
  const float share = 1.0f / batch;
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
    grad[classes[index[b]]] -= share;
  }
}

// Gradients `(sample, out)` of the mean square of errors.
inline void mean_square(const float* found, const float* values, const int64_t* index, long batch,
                        long outs, float* grad) {
  const long out = padded(outs);
  const float share = 2.0f / (batch * outs);
  for (long b = 0; b < batch; ++b) {
    for (long c = 0; c < outs; ++c) {
      grad[b * out + c] = share * (found[b * out + c] - values[index[b] * outs + c]);
    }
  }
}

}  // namespace nfn
