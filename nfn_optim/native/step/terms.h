// What neurons and the whole network add to the channels of each parameter.
#pragma once

#include <algorithm>
#include <vector>

#include "parameter.h"

namespace nfn {

// The same for every tap.
inline Matrix spread(Matrix& columns, long taps) {
  if (taps == 1) return std::move(columns);
  Matrix result(columns.rows, columns.columns * taps);
  for (long k = 0; k < columns.rows; ++k) {
    for (long i = 0; i < columns.columns; ++i) {
      std::fill_n(result[k] + i * taps, taps, columns[k][i]);
    }
  }
  return result;
}

// Means over the parameters that carry a population, three roles after another.
inline Matrix of_neurons(const Network& network, const std::vector<Means>& means, long c,
                         std::vector<long>& starts) {
  long total = 0;
  for (long size : network.sizes) starts.push_back(total), total += size;
  std::vector<int> carriers(3 * network.sizes.size());
  Matrix joined(3 * c, total);
  const auto each = [&](auto visit) {
    for (size_t i = 0; i < network.parameters.size(); ++i) {
      const Parameter& p = network.parameters[i];
      if (!p.is_weight()) {
        visit(2, p.out, means[i].rows);
        continue;
      }
      visit(0, p.out, p.is_turned ? means[i].columns : means[i].rows);
      visit(1, p.source, p.is_turned ? means[i].rows : means[i].columns);
    }
  };
  each([&](int role, int population, const Matrix&) { ++carriers[3 * population + role]; });
  each([&](int role, int population, const Matrix& mean) {
    const float part = 1.0f / carriers[3 * population + role];
    for (long k = 0; k < c; ++k) {
      float* to = joined[role * c + k] + starts[population];
      for (long e = 0; e < network.sizes[population]; ++e) to[e] += part * mean[k][e];
    }
  });
  return joined;
}

inline float total(const float* x, long count) {
  float sum = 0;
  for (long e = 0; e < count; ++e) sum += x[e];
  return sum;
}

inline float average(const float* x, long count) { return total(x, count) / count; }

// Means over each parameter, over all weights and over all vectors, and the context: a row for every
// parameter.
inline Matrix described(const Network& network, const std::vector<Means>& means, long c) {
  const std::vector<Parameter>& parameters = network.parameters;
  Matrix given(parameters.size(), 3 * c + CONTEXT);
  std::vector<float> kinds(2 * c);
  int counts[2] = {};
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    ++counts[!p.is_weight()];
    for (long k = 0; k < c; ++k) {
      given[i][k] = average(means[i].rows[k], p.neurons());
      kinds[!p.is_weight() * c + k] += given[i][k];
    }
  }
  for (long k = 0; k < 2 * c; ++k) kinds[k] /= std::max(1, counts[k >= c]);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    std::copy(kinds.begin(), kinds.end(), given[i] + c);
    std::copy(p.context, p.context + CONTEXT, given[i] + 3 * c);
  }
  return given;
}

// Maps of what describes the parameters: `(out, parameters)`.
inline Matrix of_network(const Network& network, const Layer& layer,
                         const std::vector<Means>& means) {
  const long inputs = 3 * layer.in + CONTEXT;
  const std::vector<Parameter>& parameters = network.parameters;
  const Matrix given = described(network, means, layer.in);
  Matrix result(layer.out, parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    const long kind = !p.is_weight();
    for (long k = 0; k < layer.out; ++k) {
      const float* weight = layer.network + (kind * layer.out + k) * inputs;
      float total = layer.bias[kind * layer.out + k];
      for (long e = 0; e < inputs; ++e) total += weight[e] * given[i][e];
      result[k][i] = total;
    }
  }
  return result;
}

// What is added to each parameter, as `SharedNPLinear.terms`.
inline std::vector<Terms> terms(const Network& network, const Layer& layer,
                                const std::vector<Means>& means, int threads) {
  const long c = layer.in, o = layer.out;
  std::vector<long> starts;
  const Matrix joined = of_neurons(network, means, c, starts);
  const Matrix neurons = multiply(layer.neurons, 3 * o, joined, threads);
  const Matrix whole = of_network(network, layer, means);
  std::vector<Terms> result;
  for (size_t i = 0; i < network.parameters.size(); ++i) {
    const Parameter& p = network.parameters[i];
    Matrix rows(o, p.rows), columns(o, p.columns);
    const auto add = [&](Matrix& to, int role, int population) {
      for (long k = 0; k < o; ++k) {
        const float* from = neurons[role * o + k] + starts[population];
        for (long e = 0; e < network.sizes[population]; ++e) to[k][e] += from[e];
      }
    };
    if (p.is_weight()) {
      const float *outputs = layer.own, *inputs = layer.own + o * c;
      rows = multiply(p.is_turned ? inputs : outputs, o, means[i].rows, threads);
      columns = multiply(p.is_turned ? outputs : inputs, o, means[i].columns, threads);
      add(p.is_turned ? columns : rows, 0, p.out);
      add(p.is_turned ? rows : columns, 1, p.source);
    } else {
      add(columns, 2, p.out);
    }
    for (long k = 0; k < o; ++k) {
      for (long e = 0; e < p.rows; ++e) rows[k][e] += whole[k][i];
    }
    result.push_back({std::move(rows), spread(columns, p.taps)});
  }
  return result;
}

// Takes from the magnitude, which is written first, its mean over all entries of the parameter.
inline void centre(const Parameter& p, const Layer& write, const Means& hidden, Terms& terms) {
  float mean = average(terms.rows[0], p.rows) + average(terms.columns[0], p.length());
  for (int k = 0; k < write.in; ++k) {
    const float tapped = p.taps > 1 ? write.taps[k] : 0;
    mean += (write.own_entry(p)[k] + tapped) * average(hidden.rows[k], p.neurons());
  }
  for (long e = 0; e < p.rows; ++e) terms.rows[0][e] -= mean;
}

}  // namespace nfn
