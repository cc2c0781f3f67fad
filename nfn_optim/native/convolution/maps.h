// Samples on their way in and out: outside each is a row of numbers, inside a lane of registers.
#pragma once

#include <utility>
#include <vector>

#include "lanes.h"
#include "shuffle.h"

namespace nfn {

// Exchanges the lanes of `a` that have the bit `H` with those of `b` that do not.
template <int H, int... I>
NFN_INLINE void exchange(Vec& a, Vec& b, std::integer_sequence<int, I...>) {
  const Vec low = NFN_SHUFFLE(Ints, a, b, (I & H ? int(LANES) + I - H : I)...);
  b = NFN_SHUFFLE(Ints, a, b, (I & H ? int(LANES) + I : I + H)...);
  a = low;
}

// Rows as columns.
template <int H = LANES / 2>
NFN_INLINE void turn(Vec (&rows)[LANES]) {
#pragma GCC unroll 16
  for (int i = 0; i < LANES; ++i) {
    if (!(i & H)) exchange<H>(rows[i], rows[i + H], std::make_integer_sequence<int, LANES>());
  }
  if constexpr (H > 1) turn<H / 2>(rows);
}

// Zero in place of negative numbers. NaN is kept, whatever the compiler takes for granted.
inline Vec rectified(Vec x) {
  constexpr int32_t LEAST = -0x800000;  // minus infinity, which NaN follow
  const Ints bits = reinterpret_cast<Ints>(x);
  return reinterpret_cast<Vec>(bits & (bits > LEAST));
}

// `g` where `x`, which is rectified, is not zero.
inline Vec masked(Vec g, Vec x) {
  return reinterpret_cast<Vec>(reinterpret_cast<Ints>(g) & (reinterpret_cast<Ints>(x) != 0));
}

// Some samples outside, each of `size` numbers.
template <class T>
struct Rows {
  T* first;
  long size, count;

  Rows from(long sample) const { return {first + sample * size, size, count - sample}; }
};

// The first samples of the rows, as a register holds them, to where each number is inside; of
// adjoints only what belongs to rectified results that are not zero.
inline void read(Rows<const float> from, const float* results, const std::vector<long>& places,
                 Vec* to) {
  for (long n = 0; n < from.size; n += LANES) {
    const long left = std::min(from.size - n, LANES);
    Vec rows[LANES];
#pragma GCC unroll 16
    for (long b = 0; b < LANES; ++b) {
      const long at = b * from.size + n;
      rows[b] = b < from.count ? load(from.first + at, left) : Vec{};
      if (results && b < from.count) rows[b] = masked(rows[b], load(results + at, left));
    }
    turn(rows);
#pragma GCC unroll 16
    for (long i = 0; i < LANES; ++i) {
      if (i < left) to[places[n + i]] = rows[i];
    }
  }
}

// The other way, from registers in the order of the numbers.
inline void write(const Vec* from, Rows<float> to) {
  for (long n = 0; n < to.size; n += LANES) {
    const long left = std::min(to.size - n, LANES);
    Vec rows[LANES];
#pragma GCC unroll 16
    for (long i = 0; i < LANES; ++i) rows[i] = i < left ? from[n + i] : Vec{};
    turn(rows);
#pragma GCC unroll 16
    for (long b = 0; b < LANES; ++b) {
      if (b < to.count) store(to.first + b * to.size + n, rows[b], left);
    }
  }
}

}  // namespace nfn
