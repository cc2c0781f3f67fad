// A step of an optimizer.

#include <cmath>
#include <cstdint>
#include <vector>

#include "border.h"
#include "flush.h"
#include "step.h"

// `layout` has of every parameter rows, columns, taps, populations of outputs and inputs, whether
// inputs are rows, into how many matrices rows, columns and taps are cut, the bands of each, whether
// there are axes of taps, how many momenta are kept, and how many directions; `tensors` values,
// gradient, momenta, square (null where none is kept), lead, step, number of steps, size at the
// start, loud, loudest, opened, agreed, asked and steep (null where nothing is remembered); `rates` a
// factor on the update and one on the values; `weights` seven of each layer and two of the schedule;
// `settings` those of `Settings`. Writes the norms of the updates to `norms`.
extern "C" int nfn_step(long parameters, const int64_t* layout, const float* fans, long populations,
                        const int64_t* sizes, void* const* tensors, const double* rates,
                        const float* const* weights, const float* settings, int hidden, int threads,
                        float* norms) try {
  const nfn::Flush flush;
  std::vector<nfn::Parameter> all;
  for (long i = 0; i < parameters; ++i) {
    all.emplace_back(layout + nfn::NUMBERS * i, fans + nfn::FANS * i, tensors + nfn::TENSORS * i,
                     rates + 2 * i);
  }
  nfn::Step step({std::move(all), {sizes, sizes + populations}},
                 nfn::Layer(nfn::INPUTS, hidden, weights),
                 nfn::Layer(hidden, nfn::WRITTEN, weights + 7), {weights[14], weights[15]},
                 nfn::Settings(settings), threads);
  step.run();
  for (const nfn::Parameter& p : step.parameters()) {
    *norms++ = static_cast<float>(std::sqrt(p.moved));
  }
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}
