// How entries move: a fast iterate takes steps, and the parameters follow its average.
#pragma once

#include <algorithm>
#include <vector>

#include "channels.h"
#include "lanes.h"
#include "parallel.h"
#include "parameter.h"

namespace nfn {

// What a step takes from entries as a whole, as `shrunk` in rules/_scaling.py.
inline Vec shrunk(const Parameter& p, Vec direction, Vec value) {
  return (direction < UNPOINTED) & (direction > -UNPOINTED) ? Vec{} : p.shrinking * value;
}

// Takes a step of such a size along a direction with the entries from `at` on, of which there are
// `n`; `rate` is the weight of the new position in the average. Returns the squares of what the
// parameters move by.
inline Vec move(Parameter& p, long at, long n, Vec size, Vec direction, Vec rate) {
  const Vec step = size * direction, value = load(p.values + at, n);
  const Vec ahead = load(p.lead + at, n) - FOLLOWED * step;
  const Vec caught = rate * ahead;
  const Vec delta = caught - LED * step - shrunk(p, direction, value);
  store(p.lead + at, ahead - caught, n);
  store(p.values + at, p.keep * value + p.rate * delta, n);
  return first(delta * delta, n);
}

// Moves the `count` entries from `at` on at the pace of their parameter alone, where layers write
// nothing; `direction(e, n)` is that of `n` of them. Returns the square of what they move by.
template <class Direction>
inline float keep_pace(Parameter& p, long at, long count, Direction direction) {
  const Vec pace = all(p.pace), rate = all(p.following);
  Vec moved = {};
  for (long e = 0; e < count; e += LANES) {
    const long n = count - e;
    moved += move(p, at + e, n, pace, clamp(direction(e, n), -CLIP, CLIP), rate);
  }
  return sum(moved);
}

// Moves all parameters that are made of no matrices so, along Adam's direction.
inline void follow_adam(std::vector<Parameter>& parameters, int threads) {
  constexpr long AT_ONCE = 1 << 16;  // entries
  struct Stretch {
    Parameter* parameter;
    long at, count;
    double moved;
  };
  std::vector<Stretch> all;
  for (Parameter& p : parameters) {
    for (long at = 0; at < p.entries() && !p.is_polar(); at += AT_ONCE) {
      all.push_back({&p, at, std::min(AT_ONCE, p.entries() - at), 0});
    }
  }
  in_parallel(all.size(), threads, [&](long i) {
    Stretch& s = all[i];
    s.moved = keep_pace(*s.parameter, s.at, s.count,
                        [&](long e, long n) { return adams(*s.parameter, s.at + e, n); });
  });
  for (const Stretch& s : all) s.parameter->moved += s.moved;
}

}  // namespace nfn
