// A parameter's numbers during a step, with rows that fill registers.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "step/parameter.h"

namespace nfn {

// Makes the columns of a matrix its rows where they fill more of the registers.
inline void flip(Parameter& p) {
  const bool is_matrix = p.is_weight() && !p.has_taps && p.rows != p.columns;
  if (!is_matrix || padded(p.columns, PANEL) * p.rows <= padded(p.rows, PANEL) * p.columns) return;
  std::swap(p.rows, p.columns);
  std::swap(p.blocks[0], p.blocks[1]);
  p.is_turned = !p.is_turned;
  p.is_flipped = true;
}

// Copies the entries of one network as they are stored to what is worked on, and back.
inline void lay(const Parameter& p, const float* from, float* to) {
  if (!p.is_flipped) {
    std::copy_n(from, p.entries(), to);
  } else {
    transpose(from, p.rows, p.columns, p.rows, to, p.columns);
  }
}

inline void put_back(const Parameter& p, const float* from, float* to) {
  if (!p.is_flipped) {
    std::copy_n(from, p.entries(), to);
  } else {
    transpose(from, p.columns, p.rows, p.columns, to, p.rows);
  }
}

// The tensors of a step's parameter, each of all networks; those of slots are before and after it.
struct Tensors {
  const float *value, *grad, *momenta, *square, *lead, *step, *num_steps, *start, *loud, *loudest,
      *opened, *agreed, *asked, *steep;
};

struct Results {
  float *delta, *lead, *momenta, *square, *step, *loud, *loudest, *opened, *agreed, *asked, *steep;
};

// One network's part of these, to be worked on in place: of the results themselves, or of copies that
// are flipped.
class Laid {
 public:
  Laid(Parameter& p, const Tensors& from, const Results& to, long network, long networks) {
    const long size = p.entries(), at = network * size, apart = networks * size;
    const float* given[COPIED] = {from.value + at, from.lead + at, from.square + at};
    float* found[COPIED] = {to.delta + at, to.lead + at, to.square + at};
    for (long k = 0; k < DECAYS; ++k) {
      given[3 + k] = from.momenta + k * apart + at, found[3 + k] = to.momenta + k * apart + at;
    }
    if (p.is_flipped) copies_ = Buffer((COPIED + 1) * size);
    for (int i = 0; i < COPIED; ++i) {
      results_[i] = found[i], worked_[i] = p.is_flipped ? copies_.get() + i * size : found[i];
      lay(p, given[i], worked_[i]);
    }
    p.values = worked_[0], p.lead = worked_[1], p.square = worked_[2], p.momenta = worked_[3];
    p.apart = p.is_flipped ? size : apart;
    p.grad = from.grad + at;
    if (p.is_flipped) {
      lay(p, p.grad, copies_.get() + COPIED * size);
      p.grad = copies_.get() + COPIED * size;
    }
    p.step = to.step + network, p.loud = to.loud + network, p.loudest = to.loudest + network;
    *p.step = from.step[network];
    p.opened = to.opened + network;
    *p.loud = from.loud[network], *p.loudest = from.loudest[network];
    *p.opened = from.opened[network];
    p.agreed = to.agreed + network;
    *p.agreed = from.agreed[network];
    p.asked = to.asked + network;
    *p.asked = from.asked[network];
    p.num_steps = from.num_steps + network, p.start = from.start + network;
    if (!from.steep) return;
    p.steep = to.steep + network * p.remembered();
    std::copy_n(from.steep + network * p.remembered(), p.remembered(), p.steep);
  }

  void put_back(const Parameter& p) const {
    if (!p.is_flipped) return;
    for (int i = 0; i < COPIED; ++i) nfn::put_back(p, worked_[i], results_[i]);
  }

 private:
  static constexpr int COPIED = 3 + DECAYS;
  Buffer copies_;
  float *worked_[COPIED], *results_[COPIED];
};

// Adjoints of one parameter: of what it moves by and its lead afterwards, and its lead before;
// `before` is to be the adjoint of that.
struct Adjoints {
  const float *delta, *after, *lead;
  float* before;
};

// One network's part of these, likewise.
class LaidAdjoints {
 public:
  LaidAdjoints(const Parameter& p, const Adjoints& all, long network) {
    const long size = p.entries(), at = network * size;
    at_ = {all.delta + at, all.after + at, all.lead + at, all.before + at};
    result_ = at_.before;
    if (!p.is_flipped) return;
    copies_ = Buffer(4 * size);
    float* copy = copies_.get();
    for (const float** of : {&at_.delta, &at_.after, &at_.lead}) {
      lay(p, *of, copy);
      *of = copy, copy += size;
    }
    at_.before = copy;
  }

  const Adjoints& get() const { return at_; }

  void put_back(const Parameter& p) const {
    if (p.is_flipped) nfn::put_back(p, at_.before, result_);
  }

 private:
  Buffer copies_;
  Adjoints at_;
  float* result_;
};

}  // namespace nfn
