// What a step of one network leaves for the way back: floats, one parameter after another.
#pragma once

#include <algorithm>
#include <vector>

#include "step/parameter.h"
#include "step/statistics.h"

namespace nfn {

// One parameter's part.
class Tape {
 public:
  Tape(const Parameter& p, int hidden, float* at)
      : numbers(at), context(numbers + 5), time(context + CONTEXT), entries(time + SCHEDULE),
        of_inputs(entries + p.rows * (INPUTS + WRITTEN) * padded(p.length(), PANEL)),
        of_hidden(of_inputs + INPUTS * neurons(p)), end(of_hidden + hidden * neurons(p)) {}

  float *numbers, *context, *time;  // of the parameter, see `write`, and what is read
  float* entries;                   // see `Parameter::taped`
  float *of_inputs, *of_hidden;     // means of channels
  float* end;

  void write(const Parameter& p, const Means& inputs, const Means& hidden) {
    numbers[0] = p.log_size, numbers[1] = p.recency, numbers[2] = p.trust;
    numbers[3] = p.shrinking, numbers[4] = p.size;
    std::copy_n(p.context, CONTEXT, context);
    describe_time(p, time);
    write(inputs, of_inputs);
    write(hidden, of_hidden);
  }

  void read(Parameter& p) const {
    p.tape = entries;
    p.log_size = numbers[0], p.recency = numbers[1], p.trust = numbers[2];
    p.shrinking = numbers[3], p.size = numbers[4];
    std::copy_n(context, CONTEXT, p.context);
  }

  Means means(const Parameter& p, int channels, const float* from) const {
    Means means{Matrix(channels, p.is_weight() ? p.rows : p.columns),
                Matrix(channels, p.is_weight() ? p.columns : p.rows)};
    for (Matrix* matrix : {&means.rows, &means.columns}) {
      copy(from, matrix->columns, channels, matrix->columns, (*matrix)[0], matrix->stride);
      from += channels * matrix->columns;
    }
    return means;
  }

 private:
  static long neurons(const Parameter& p) { return p.rows + p.columns; }

  static void write(const Means& means, float* to) {
    for (const Matrix* matrix : {&means.rows, &means.columns}) {
      copy((*matrix)[0], matrix->stride, matrix->rows, matrix->columns, to, matrix->columns);
      to += matrix->rows * matrix->columns;
    }
  }
};

// Of all parameters, from `at` on.
inline std::vector<Tape> tapes(const std::vector<Parameter>& parameters, int hidden, float* at) {
  std::vector<Tape> result;
  for (const Parameter& p : parameters) {
    result.emplace_back(p, hidden, at);
    at = result.back().end;
  }
  return result;
}

}  // namespace nfn
