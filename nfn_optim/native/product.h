// The product that keeps its sums in registers, which those of steps and populations are made of.
#pragma once

#include "lanes.h"

namespace nfn {

// Adds to `P` rows of `V` registers each: row `i` gains `factor(i, t)` times the registers at
// `rows + t * stride`, for all `t` up to `count`.
template <long P, long V, class Factor>
inline void accumulate(Vec (&sums)[P][V], long count, const float* rows, long stride,
                       Factor factor) {
  for (long t = 0; t < count; ++t, rows += stride) {
    Vec row[V];
#pragma GCC unroll 8
    for (long v = 0; v < V; ++v) row[v] = load(rows + v * LANES);
#pragma GCC unroll 16
    for (long i = 0; i < P; ++i) {
      const float f = factor(i, t);
#pragma GCC unroll 8
      for (long v = 0; v < V; ++v) sums[i][v] += f * row[v];
    }
  }
}

}  // namespace nfn
