// A step of `NFNRule` on many networks of one shape, and the way back through it to meta-parameters
// and leads: what the rule reads is constant.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "border.h"
#include "entries.h"
#include "flush.h"
#include "neurons.h"
#include "laid.h"
#include "step/step.h"
#include "tape.h"

namespace nfn {
namespace {

// What all networks share.
struct Shapes {
  long networks, parameters;
  const int64_t* layout;
  const float* fans;
  long populations;
  const int64_t* sizes;
  int hidden;
};

// The rule.
struct Rule {
  Layer read, write;
  Schedule schedule;

  Rule(const float* const* weights, int hidden)
      : read(INPUTS, hidden, weights), write(hidden, WRITTEN, weights + 7),
        schedule{weights[14], weights[15]} {}
};

std::vector<Parameter> shapes_of(const Shapes& shapes) {
  std::vector<Parameter> result;
  void* const none[TENSORS] = {};
  const double rates[] = {1, 0};  // values become what they move by
  for (long i = 0; i < shapes.parameters; ++i) {
    result.emplace_back(shapes.layout + NUMBERS * i, shapes.fans + FANS * i, none, rates);
    flip(result.back());
  }
  return result;
}

// One network's way back; adds to the gradients.
class Back {
 public:
  Back(const Shapes& shapes, const Rule& rule, bool centred)
      : rule_(rule), centred_(centred), network_{shapes_of(shapes), {shapes.sizes, shapes.sizes + shapes.populations}},
        of_read_(INPUTS, shapes.hidden), of_write_(shapes.hidden, WRITTEN),
        of_schedule_(WRITTEN, SCHEDULE + 1) {}

  void run(float* tape, const Adjoints* adjoints, long network) {
    std::vector<Parameter>& parameters = network_.parameters;
    const size_t count = parameters.size();
    const int hidden = rule_.read.out;
    const std::vector<Tape> all = tapes(parameters, hidden, tape);
    std::vector<Means> inputs, pooled;
    for (size_t i = 0; i < count; ++i) {
      all[i].read(parameters[i]);
      inputs.push_back(all[i].means(parameters[i], INPUTS, all[i].of_inputs));
      pooled.push_back(all[i].means(parameters[i], hidden, all[i].of_hidden));
    }
    std::vector<Written> written;
    std::vector<Terms> changes;
    for (size_t i = 0; i < count; ++i) {
      Sums sums(parameters[i], WRITTEN);
      const LaidAdjoints laid(parameters[i], adjoints[i], network);
      written.push_back(back_to_written(parameters[i], laid.get(), centred_, sums));
      laid.put_back(parameters[i]);
      changes.push_back(std::move(sums).terms(parameters[i]));
      add(written.back(), all[i].time);
    }
    const std::vector<Means> back_pooled =
        back(network_, rule_.write, pooled, changes, true, of_write_);
    const std::vector<Terms> given = terms(network_, rule_.read, inputs, 1);
    for (size_t i = 0; i < count; ++i) {
      const Parameter& p = parameters[i];
      const auto to_terms = p.taps > 1 ? back_to_terms<true> : back_to_terms<false>;
      Sums sums = to_terms(p, rule_.read, rule_.write, given[i], back_pooled[i], written[i],
                           of_read_, of_write_);
      changes[i] = std::move(sums).terms(p);
    }
    back(network_, rule_.read, inputs, changes, false, of_read_);
  }

  void write(float* const* gradients) const {
    of_read_.write(gradients);
    of_write_.write(gradients + 7);
    copy(of_schedule_[0], of_schedule_.stride, WRITTEN, SCHEDULE, gradients[14], SCHEDULE);
    copy(of_schedule_[0] + SCHEDULE, of_schedule_.stride, WRITTEN, 1, gradients[15], 1);
  }

 private:
  void add(const Written& written, const float* time) {
    const double changes[] = {written.size, written.recency};
    for (int o = 0; o < WRITTEN; ++o) {
      const float change = static_cast<float>(changes[o]);
      for (int k = 0; k < SCHEDULE; ++k) of_schedule_[o][k] += change * time[k];
      of_schedule_[o][SCHEDULE] += change;
    }
  }

  const Rule& rule_;
  bool centred_;
  Network network_;
  Gradient of_read_, of_write_;
  Matrix of_schedule_;  // the last column is that of the bias
};

long tape_size(const Shapes& shapes) {
  float start = 0;
  const auto all = tapes(shapes_of(shapes), shapes.hidden, &start);
  return all.empty() ? 0 : all.back().end - &start;
}

}  // namespace
}  // namespace nfn

// Floats of one network's tape, to `size`.
extern "C" int nfn_tape_size(const nfn::Shapes* shapes, int64_t* size) try {
  *size = nfn::tape_size(*shapes);
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}

// Takes a step. `tape` has room for every network's, or is null where there is no way back.
extern "C" int nfn_taped_step(const nfn::Shapes* shapes, const nfn::Tensors* tensors,
                              const nfn::Results* results, const float* const* weights,
                              const float* settings, float* tape) try {
  const nfn::Flush flush;
  const nfn::Rule rule(weights, shapes->hidden);
  for (long n = 0; n < shapes->networks; ++n) {
    std::vector<nfn::Parameter> all = nfn::shapes_of(*shapes);
    std::vector<nfn::Tape> tapes;
    std::vector<nfn::Laid> laid;
    if (tape) tapes = nfn::tapes(all, shapes->hidden, tape);
    for (size_t i = 0; i < all.size(); ++i) {
      laid.emplace_back(all[i], tensors[i], results[i], n, shapes->networks);
      if (tape) all[i].tape = tapes[i].entries;
    }
    nfn::Step step({std::move(all), {shapes->sizes, shapes->sizes + shapes->populations}}, rule.read,
                   rule.write, rule.schedule, nfn::Settings(settings), 1);
    step.run();
    for (size_t i = 0; i < laid.size(); ++i) laid[i].put_back(step.parameters()[i]);
    for (size_t i = 0; i < tapes.size(); ++i) {
      tapes[i].write(step.parameters()[i], step.means_of_inputs()[i], step.means_of_hidden()[i]);
      tape = tapes[i].end;
    }
  }
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}

// Goes back through a step: from adjoints of what it returned to those of the leads before it, and to
// the gradients of the weights.
extern "C" int nfn_taped_back(const nfn::Shapes* shapes, float* tape,
                              const nfn::Adjoints* adjoints, const float* const* weights,
                              const float* settings, float* const* gradients) try {
  const nfn::Flush flush;
  const nfn::Rule rule(weights, shapes->hidden);
  nfn::Back back(*shapes, rule, nfn::Settings(settings).centred);
  const long size = nfn::tape_size(*shapes);
  for (long n = 0; n < shapes->networks; ++n) back.run(tape + n * size, adjoints, n);
  back.write(gradients);
  return nfn::DONE;
} catch (...) {
  return nfn::outcome();
}
