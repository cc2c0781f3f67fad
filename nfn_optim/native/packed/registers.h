// Rows of channels in registers, as few of them masked as can be.
#pragma once

#include <algorithm>

#include "lanes.h"
#include "tiles.h"

namespace nfn {

constexpr long WIDE = 2;  // registers of a row that are worked on at a time

// Writes a register past the cache, whose lines would be read before they are written.
NFN_INLINE void stream(float* to, Vec x) {
#if defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)x);
#elif defined(__AVX__)
  _mm256_stream_ps(to, (__m256)x);
#else
  store(to, x);
#endif
}

// A number that is known when code is compiled.
template <long N>
struct Fixed {
  constexpr operator long() const { return N; }
};

// `f(Number of registers, first column, columns)` for all columns; these are `Fixed` where they are
// whole registers, or half of one.
template <class F>
void columns(long width, F f) {
  for (long c = 0; c < width; c += WIDE * LANES) {
    const long left = std::min(width - c, WIDE * LANES);
    choose<WIDE>((left + LANES - 1) / LANES, [&](auto size) {
      constexpr long whole = decltype(size)::value * LANES;
      if (left == whole) return f(size, c, Fixed<whole>());
      if (left == LANES / 2) return f(size, c, Fixed<LANES / 2>());
      f(size, c, left);
    });
  }
}

// As `load` and `store`, which mask lanes: half a register needs no mask.
NFN_INLINE Vec load_lanes(const float* p, long n) {
#if defined(__AVX512F__)
  if (n == LANES / 2) return (Vec)_mm512_zextps256_ps512(_mm256_loadu_ps(p));
#endif
  return load(p, n);
}

NFN_INLINE void store_lanes(float* p, Vec x, long n) {
#if defined(__AVX512F__)
  if (n == LANES / 2) return _mm256_storeu_ps(p, _mm512_castps512_ps256((__m512)x));
#endif
  store(p, x, n);
}

// The first `width` floats of a row, in registers.
template <long V>
struct Row {
  Vec x[V] = {};

  static NFN_INLINE Row at(const float* from, long width) {
    Row row;
#pragma GCC unroll 4
    for (long v = 0; v < V; ++v) row.x[v] = load_lanes(from + v * LANES, width - v * LANES);
    return row;
  }

  NFN_INLINE void operator+=(const Row& other) {
#pragma GCC unroll 4
    for (long v = 0; v < V; ++v) x[v] += other.x[v];
  }

  NFN_INLINE void operator*=(float factor) {
#pragma GCC unroll 4
    for (long v = 0; v < V; ++v) x[v] *= factor;
  }

  NFN_INLINE void store_at(float* to, long width) const {
#pragma GCC unroll 4
    for (long v = 0; v < V; ++v) store_lanes(to + v * LANES, x[v], width - v * LANES);
  }

  NFN_INLINE void add_to(float* to, long width) const {
    Row sum = at(to, width);
    sum += *this;
    sum.store_at(to, width);
  }
};

}  // namespace nfn
