// How entries move: a fast iterate takes steps, and the parameters follow its average.
#pragma once

#include "lanes.h"
#include "parameter.h"

namespace nfn {

// Takes a step with the entries from `at` on, of which there are `n`; `rate` is the weight of the
// new position in the average. Returns the squares of what the parameters move by.
inline Vec follow(Parameter& p, long at, long n, Vec step, Vec rate) {
  const Vec ahead = load(p.lead + at, n) - FOLLOWED * step;
  const Vec caught = rate * ahead;
  const Vec delta = caught - LED * step;
  store(p.lead + at, ahead - caught, n);
  store(p.values + at, p.keep * load(p.values + at, n) + p.rate * delta, n);
  return first(delta * delta, n);
}

// Where the entries from `at` on are to go: the first channel by itself.
inline Vec direction(const Parameter& p, long at, long n) {
  if (p.is_polar()) return clamp(load(p.direction.get() + at, n), -CLIP, CLIP);
  const Vec scale = 1.0f / root(load(p.square + at, n) * p.correct_square + TINY);
  return clamp(load(p.momenta + at, n) * scale * p.correct[0], -CLIP, CLIP);
}

// Moves a piece at the pace of its parameter alone, where layers write nothing.
inline void keep_pace(Parameter& p, Piece& piece) {
  const Vec size = exp(p.log_size + Vec{}), rate = sigmoid(p.recency + Vec{});
  const long end = piece.end * p.length();
  Vec moved = {};
  for (long at = piece.begin * p.length(); at < end; at += LANES) {
    const long n = end - at;
    moved += follow(p, at, n, size * first(direction(p, at, n), n), rate);
  }
  piece.moved = sum(moved);
}

}  // namespace nfn
