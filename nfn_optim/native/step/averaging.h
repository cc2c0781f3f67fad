// How entries move: a fast iterate takes steps, and the parameters follow its average.
#pragma once

#include "channels.h"
#include "lanes.h"
#include "parameter.h"

namespace nfn {

// Takes a step with the entries from `at` on, of which there are `n`; `rate` is the weight of the
// new position in the average. Returns the squares of what the parameters move by.
inline Vec move(Parameter& p, long at, long n, Vec step, Vec rate) {
  const Vec ahead = load(p.lead + at, n) - FOLLOWED * step;
  const Vec caught = rate * ahead;
  const Vec delta = caught - LED * step;
  store(p.lead + at, ahead - caught, n);
  store(p.values + at, p.keep * load(p.values + at, n) + p.rate * delta, n);
  return first(delta * delta, n);
}

// Moves a piece at the pace of its parameter alone, where layers write nothing.
inline void keep_pace(Parameter& p, Piece& piece) {
  const Vec size = exp(p.log_size + Vec{}), rate = sigmoid(p.recency + Vec{});
  const long end = piece.end * p.length();
  Vec moved = {};
  for (long at = piece.begin * p.length(); at < end; at += LANES) {
    const long n = end - at;
    moved += move(p, at, n, size * first(direction(p, at, n), n), rate);
  }
  piece.moved = sum(moved);
}

}  // namespace nfn
