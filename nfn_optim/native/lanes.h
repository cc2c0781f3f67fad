// As many floats at once as a register holds, for any processor that GCC or Clang knows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#if defined(__AVX__)
#include <immintrin.h>
#endif

// A call among entries would save all registers.
#define NFN_INLINE inline __attribute__((always_inline))

namespace nfn {

#if defined(__AVX512F__)
constexpr long LANES = 16;
#elif defined(__AVX__)
constexpr long LANES = 8;
#else
constexpr long LANES = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef float Loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline long padded(long n, long unit = LANES) { return (n + unit - 1) / unit * unit; }

inline Vec all(float x) { return x - Vec{}; }

inline Vec load(const float* p) { return *reinterpret_cast<const Loose*>(p); }

inline void store(float* p, Vec x) { *reinterpret_cast<Loose*>(p) = x; }

// The number of each lane.
NFN_INLINE Ints lanes() {
  Ints numbers = {};
  for (int i = 0; i < LANES; ++i) numbers[i] = i;
  return numbers;
}

// The first `n` of the lanes, and zeros.
NFN_INLINE Vec load(const float* p, long n) {
  if (n >= LANES) return load(p);
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps((1u << std::max(0L, n)) - 1, p);
#elif defined(__AVX__)
  return _mm256_maskload_ps(p, (__m256i)(lanes() < static_cast<int>(n)));
#else
  Vec x = {};
  std::memcpy(&x, p, std::max(0L, n) * sizeof(float));
  return x;
#endif
}

NFN_INLINE void store(float* p, Vec x, long n) {
  if (n >= LANES) return store(p, x);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (1u << std::max(0L, n)) - 1, x);
#elif defined(__AVX__)
  _mm256_maskstore_ps(p, (__m256i)(lanes() < static_cast<int>(n)), x);
#else
  std::memcpy(p, &x, std::max(0L, n) * sizeof(float));
#endif
}

NFN_INLINE Vec first(Vec x, long n) {
  if (n >= LANES) return x;
  return lanes() < static_cast<int>(n) ? x : Vec{};
}

inline float sum(Vec x) {
  float total = 0;
  for (long i = 0; i < LANES; ++i) total += x[i];
  return total;
}

inline Vec clamp(Vec x, float low, float high) {
  x = x < low ? all(low) : x;
  return x > high ? all(high) : x;
}

inline Vec root(Vec x) {
  for (long i = 0; i < LANES; ++i) x[i] = std::sqrt(x[i]);
  return x;
}

// Of normal positive numbers, to the last bit or two; the polynomial is that of Cephes.
inline Vec log(Vec x) {
  const Ints bits = reinterpret_cast<Ints>(x);
  Vec m = reinterpret_cast<Vec>((bits & 0x007fffff) | 0x3f800000);
  const Ints large = m > 1.41421356f;
  Vec exponent = __builtin_convertvector((bits >> 23) - 127 - large, Vec);
  m = (large ? 0.5f * m : m) - 1.0f;
  Vec y = all(7.0376836292e-2f);
  for (float c : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                  -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f}) {
    y = y * m + c;
  }
  const Vec square = m * m;
  y = y * m * square - 0.5f * square - 2.12194440e-4f * exponent;
  return m + y + 0.693359375f * exponent;
}

inline Vec exp(Vec x) {
  x = clamp(x, -87.0f, 88.0f);
  const Vec turns = x * 1.44269504f;
  const Ints n = __builtin_convertvector(turns + (turns < 0 ? all(-0.5f) : all(0.5f)), Ints);
  const Vec exponent = __builtin_convertvector(n, Vec);
  x = x - 0.693359375f * exponent + 2.12194440e-4f * exponent;
  Vec y = all(1.9875691500e-4f);
  for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                  5.0000001201e-1f}) {
    y = y * x + c;
  }
  return (y * x * x + x + 1.0f) * reinterpret_cast<Vec>((n + 127) << 23);
}

inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp(-x)); }

// The polynomial near zero is that of Cephes.
inline Vec tanh(Vec x) {
  const Vec square = x * x;
  Vec y = all(-5.70498872745e-3f);
  for (float c : {2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f, -3.33332819422e-1f}) {
    y = y * square + c;
  }
  const Vec large = 1.0f - 2.0f / (1.0f + exp(2.0f * x));
  return square < 0.390625f ? x + x * square * y : large;
}

// The share of a normal distribution below `x`, to 3e-7; after Abramowitz and Stegun, 26.2.17.
inline Vec normal_below(Vec x) {
  const Vec size = x < 0 ? -x : x;
  const Vec t = 1.0f / (1.0f + 0.231641900f * size);
  Vec y = all(0.530702715f);
  for (float c : {-0.726576014f, 0.710706871f, -0.142248368f, 0.127414796f}) y = y * t + c;
  const Vec above = y * t * exp(-0.5f * size * size);
  return x < 0 ? above : 1.0f - above;
}

// Keeps the compiler from adding up what is subtracted from `x` before and after.
inline Vec settled(Vec x) {
  asm("" : "+m"(x));
  return x;
}

// Sine and cosine to the last bit or two where |x| is below some thousands, beyond that any number
// of at most one; after Cephes.
inline void sine(Vec x, Vec& s, Vec& c) {
  const Vec turns = x * 0.636619772f;
  const Ints n = __builtin_convertvector(turns + (turns < 0 ? all(-0.5f) : all(0.5f)), Ints);
  const Vec quarter = __builtin_convertvector(n, Vec);
  x = settled(settled(x - 1.5703125f * quarter) - 4.837512969970703125e-4f * quarter) -
      7.549789948768648e-8f * quarter;
  x = clamp(x, -0.8f, 0.8f);  // a little over pi / 4: bounded where there are too many turns
  const Vec square = x * x;
  const Vec odd = ((-1.9515295891e-4f * square + 8.3321608736e-3f) * square - 1.6666654611e-1f);
  const Vec even = ((2.443315711809948e-5f * square - 1.388731625493765e-3f) * square +
                    4.166664568298827e-2f);
  const Vec near = x + x * square * odd, far = 1.0f - 0.5f * square + square * square * even;
  const Ints swap = (n & 1) != 0;
  const Vec sin = swap ? far : near, cos = swap ? near : far;
  s = (n & 2) != 0 ? -sin : sin;
  c = ((n + 1) & 2) != 0 ? -cos : cos;
}

}  // namespace nfn
