// Sums of the meta-parameters' gradients over parameters and networks.
#pragma once

#include <vector>

#include "step/parameter.h"

namespace nfn {

inline Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.columns);
  multiply(a[0], a.stride, a.rows, b, 1, 0, c, c, 1);
  return c;
}

// Adds up `a b^T`, of matrices with a column for every neuron.
inline void add_outer(const Matrix& a, const Matrix& b, Matrix& to) {
  multiply(a[0], a.stride, a.rows, turned(b), 1, 1, to, to, 1);
}

// Of a `Layer`.
struct Gradient {
  Matrix entry, vector, taps, outputs, inputs, neurons, networks[2];

  Gradient(int in, int out)
      : entry(out, in), vector(out, in), taps(out, in), outputs(out, in), inputs(out, in),
        neurons(3 * out, 3 * in),
        networks{Matrix(out, 3 * in + CONTEXT + 1), Matrix(out, 3 * in + CONTEXT + 1)} {}

  // Of the map of an entry itself.
  Matrix& entries(const Parameter& p) { return p.is_weight() ? entry : vector; }

  // In the order of `Layer`; the last column of `networks` is that of the bias.
  void write(float* const* at) const {
    for (const Matrix* matrix : {&entry, &vector, &taps}) write(*matrix, *at++);
    write(outputs, *at);
    write(inputs, *at++ + outputs.rows * outputs.columns);
    write(neurons, *at++);
    for (long kind = 0; kind < 2; ++kind) {
      const Matrix& network = networks[kind];
      const long inputs = network.columns - 1;
      copy(network[0], network.stride, network.rows, inputs, at[0] + kind * network.rows * inputs,
           inputs);
      copy(network[0] + inputs, network.stride, network.rows, 1, at[1] + kind * network.rows, 1);
    }
  }

 private:
  static void write(const Matrix& from, float* to) {
    copy(from[0], from.stride, from.rows, from.columns, to, from.columns);
  }
};

}  // namespace nfn
