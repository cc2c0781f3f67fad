// The weights of a layer, and their gradients.
#pragma once

#include <vector>

#include "network.h"

namespace nfn {

// One map of the layer, `(out, in)`, where Python has it.
template <class T>
struct Weight {
  T* begin;
  long rows, columns, stride, step = 1;

  T& at(long row, long column) const { return begin[row * stride + column * step]; }
  Weight transposed() const { return {begin, columns, rows, step, stride}; }
};

// In the order of `Maps`, from `entry`, `vector` and `taps` `(out, in)`, `own` `(2, out, in)`,
// `neurons` `(3 out, 3 in)` and `network` `(2, out, 3 in)`. Outputs of vectors have no map.
template <class T>
std::vector<Weight<T>> weights(T* const* tensors, long out, long in) {
  T *own = tensors[3], *network = tensors[5];
  const long wide = ROLES * in;
  return {{tensors[0], out, in, in},
          {tensors[1], out, in, in},
          {own, out, in, in},
          {own + out * in, out, in, in},
          {nullptr, 0, 0, 0},
          {tensors[2], out, in, in},
          {network, out, in, wide},
          {network + out * wide, out, in, wide},
          {tensors[4], ROLES * out, wide, wide},
          {network + in, KINDS * out, KINDS * in, wide}};
}

// For products with adjoints.
inline Maps maps_back(const std::vector<Weight<const float>>& weights) {
  Maps maps;
  for (const auto& weight : weights) {
    Matrix& map = maps.emplace_back(weight.rows, weight.columns);
    for (long i = 0; i < weight.rows; ++i) {
      for (long j = 0; j < weight.columns; ++j) map[i][j] = weight.at(i, j);
    }
  }
  return maps;
}

// For products with features.
inline Maps maps(std::vector<Weight<const float>> weights) {
  for (auto& weight : weights) weight = weight.transposed();
  return maps_back(weights);
}

inline Maps zeros(const std::vector<Weight<float>>& weights) {
  Maps maps;
  for (const auto& weight : weights) maps.emplace_back(weight.rows, weight.columns);
  return maps;
}

inline void add(const Maps& maps, const std::vector<Weight<float>>& weights) {
  for (size_t k = 0; k < weights.size(); ++k) {
    for (long i = 0; i < weights[k].rows; ++i) {
      for (long j = 0; j < weights[k].columns; ++j) weights[k].at(i, j) += maps[k][i][j];
    }
  }
}

}  // namespace nfn
