// Matrices as they lie the other way round.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shuffle.h"

namespace nfn {

typedef int32_t Places __attribute__((vector_size(16)));

// Four rows of four floats, as columns.
inline void transpose_four(const float* from, long from_stride, float* to, long to_stride) {
  typedef float Four __attribute__((vector_size(16)));
  typedef float Anywhere __attribute__((vector_size(16), aligned(4), may_alias));
  Four x[4];
  for (long i = 0; i < 4; ++i) x[i] = *reinterpret_cast<const Anywhere*>(from + i * from_stride);
  const Four a = NFN_SHUFFLE(Places, x[0], x[1], 0, 4, 1, 5);
  const Four b = NFN_SHUFFLE(Places, x[2], x[3], 0, 4, 1, 5);
  const Four c = NFN_SHUFFLE(Places, x[0], x[1], 2, 6, 3, 7);
  const Four d = NFN_SHUFFLE(Places, x[2], x[3], 2, 6, 3, 7);
  const Four columns[] = {
      NFN_SHUFFLE(Places, a, b, 0, 1, 4, 5), NFN_SHUFFLE(Places, a, b, 2, 3, 6, 7),
      NFN_SHUFFLE(Places, c, d, 0, 1, 4, 5), NFN_SHUFFLE(Places, c, d, 2, 3, 6, 7)};
  for (long j = 0; j < 4; ++j) *reinterpret_cast<Anywhere*>(to + j * to_stride) = columns[j];
}

// Copies `rows` of `columns` floats, which begin every `stride` floats, as columns; in tiles, so that
// whole cache lines are read and written.
inline void transpose(const float* from, long from_stride, long rows, long columns, float* to,
                      long to_stride) {
  constexpr long TILE = 16;
  const long even_rows = rows / 4 * 4, even_columns = columns / 4 * 4;
  for (long top = 0; top < even_rows; top += TILE) {
    for (long left = 0; left < even_columns; left += TILE) {
      for (long i = top; i < std::min(top + TILE, even_rows); i += 4) {
        for (long j = left; j < std::min(left + TILE, even_columns); j += 4) {
          transpose_four(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
        }
      }
    }
  }
  for (long j = even_columns; j < columns; ++j) {
    for (long i = 0; i < even_rows; ++i) to[j * to_stride + i] = from[i * from_stride + j];
  }
  for (long i = even_rows; i < rows; ++i) {
    for (long j = 0; j < columns; ++j) to[j * to_stride + i] = from[i * from_stride + j];
  }
}

}  // namespace nfn
