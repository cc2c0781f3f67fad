// Loops over tiles whose size is known when they are compiled.
#pragma once

namespace nfn {

template <long N>
struct Number {
  static constexpr long value = N;
};

// `f(Number<n>)`, for `n` up to `MOST`.
template <long MOST, class F>
inline void choose(long n, F f) {
  if (n == MOST) return f(Number<MOST>());
  if constexpr (MOST > 1) choose<MOST - 1>(n, f);
}

// `f(Number, begin)` for tiles of `MOST`, and a last one of what is left.
template <long MOST, class F>
inline void tiles(long count, F f) {
  long begin = 0;
  for (; begin + MOST <= count; begin += MOST) f(Number<MOST>(), begin);
  choose<MOST>(count - begin, [&](auto size) { f(size, begin); });
}

// The same for as few tiles as there can be, about equally large.
template <long MOST, class F>
inline void even_tiles(long count, F f) {
  const long number = (count + MOST - 1) / MOST;
  for (long i = 0; i < number; ++i) {
    const long begin = count * i / number, end = count * (i + 1) / number;
    choose<MOST>(end - begin, [&](auto size) { f(size, begin); });
  }
}

}  // namespace nfn
