// The way back through what neurons and the whole network add: the adjoint of step/terms.h.
#pragma once

#include <algorithm>
#include <vector>

#include "gradient.h"
#include "step/terms.h"

namespace nfn {

// The rows of a dense matrix as columns.
inline Matrix turned(const float* from, long rows, long columns) {
  return turned(from, columns, rows, columns);
}

// Of the means over each parameter that `of_network` reads, `(c, parameters)`; adds to the gradient.
inline Matrix back_of_network(const Network& network, const Layer& layer, const Matrix& given,
                              const Matrix& adjoint, Gradient& gradient) {
  const long c = layer.in, inputs = 3 * c + CONTEXT, count = network.parameters.size();
  Matrix result(c, count);
  std::vector<float> kinds(2 * c);
  int counts[2] = {};
  for (long i = 0; i < count; ++i) {
    const long kind = !network.parameters[i].is_weight();
    ++counts[kind];
    for (long o = 0; o < layer.out; ++o) {
      const float change = adjoint[o][i];
      const float* weight = layer.network + (kind * layer.out + o) * inputs;
      float* to = gradient.networks[kind][o];
      for (long e = 0; e < inputs; ++e) to[e] += change * given[i][e];
      to[inputs] += change;
      for (long k = 0; k < c; ++k) result[k][i] += change * weight[k];
      for (long k = 0; k < 2 * c; ++k) kinds[k] += change * weight[c + k];
    }
  }
  for (long i = 0; i < count; ++i) {
    const long kind = !network.parameters[i].is_weight();
    for (long k = 0; k < c; ++k) result[k][i] += kinds[kind * c + k] / counts[kind];
  }
  return result;
}

// From the adjoints of all terms, and what the means were, to the adjoints of the means, as `terms`
// leads from means to terms; adds to the gradient. `wanted`: whether anyone needs the former.
inline std::vector<Means> back(const Network& network, const Layer& layer,
                               const std::vector<Means>& means, const std::vector<Terms>& adjoints,
                               bool wanted, Gradient& gradient) {
  const long c = layer.in, o = layer.out, count = network.parameters.size();
  std::vector<long> starts;
  const Matrix joined = of_neurons(network, means, c, starts);
  Matrix changes(3 * o, joined.columns), whole(o, count);
  std::vector<int> carriers(3 * network.sizes.size());
  const auto add = [&](const Matrix& from, int role, int population) {
    ++carriers[3 * population + role];
    for (long k = 0; k < o; ++k) {
      float* to = changes[role * o + k] + starts[population];
      for (long e = 0; e < network.sizes[population]; ++e) to[e] += from[k][e];
    }
  };
  for (long i = 0; i < count; ++i) {
    const Parameter& p = network.parameters[i];
    const Matrix &rows = adjoints[i].rows, &columns = adjoints[i].columns;
    for (long k = 0; k < o; ++k) whole[k][i] = total(rows[k], p.rows);
    if (!p.is_weight()) {
      add(columns, 2, p.out);
      continue;
    }
    add(p.is_turned ? columns : rows, 0, p.out);
    add(p.is_turned ? rows : columns, 1, p.source);
    add_outer(rows, means[i].rows, p.is_turned ? gradient.inputs : gradient.outputs);
    add_outer(columns, means[i].columns, p.is_turned ? gradient.outputs : gradient.inputs);
  }
  add_outer(changes, joined, gradient.neurons);
  const Matrix given = described(network, means, c);
  const Matrix of_whole = back_of_network(network, layer, given, whole, gradient);
  std::vector<Means> result;
  if (!wanted) return result;
  const Matrix maps = turned(layer.neurons, 3 * o, 3 * c);
  const Matrix of_joined = product(maps, changes);
  const Matrix outputs = turned(layer.own, o, c), inputs = turned(layer.own + o * c, o, c);
  const auto spread = [&](Matrix& to, int role, int population) {
    const float part = 1.0f / carriers[3 * population + role];
    for (long k = 0; k < c; ++k) {
      const float* from = of_joined[role * c + k] + starts[population];
      for (long e = 0; e < network.sizes[population]; ++e) to[k][e] += part * from[e];
    }
  };
  for (long i = 0; i < count; ++i) {
    const Parameter& p = network.parameters[i];
    const Matrix &rows = adjoints[i].rows, &columns = adjoints[i].columns;
    Means of{Matrix(c, p.neurons()), Matrix(c, p.is_weight() ? p.columns : 0)};
    if (p.is_weight()) {
      const Matrix &first = p.is_turned ? inputs : outputs, &second = p.is_turned ? outputs : inputs;
      of.rows = product(first, rows), of.columns = product(second, columns);
      spread(p.is_turned ? of.columns : of.rows, 0, p.out);
      spread(p.is_turned ? of.rows : of.columns, 1, p.source);
    } else {
      spread(of.rows, 2, p.out);
    }
    for (long k = 0; k < c; ++k) {
      for (long e = 0; e < p.neurons(); ++e) of.rows[k][e] += of_whole[k][i] / p.neurons();
    }
    result.push_back(std::move(of));
  }
  return result;
}

}  // namespace nfn
