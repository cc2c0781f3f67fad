// What is known of whole parameters.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lanes.h"
#include "parameter.h"

namespace nfn {

// The linear layer that reads the time.
struct Schedule {
  const float *weight, *bias;
};

// Takes gradients in, and sums up what `scale` has to know, and which way the loss goes towards the
// fast iterate.
template <int KEPT, bool SQUARE>
inline void accumulate(const Parameter& p, Piece& piece) {
  const long end = piece.end * p.length();
  constexpr float kept = SQUARE_DECAY, taken = 1 - SQUARE_DECAY;
  for (long begin = piece.begin * p.length(); begin < end; begin += 4096) {
    Vec sums[SUMS] = {};
    for (long e = begin; e < std::min(end, begin + 4096); e += LANES) {
      const long n = end - e;
      const Vec grad = load(p.grad + e, n), gain = grad * grad, lead = load(p.lead + e, n);
      const Vec value = load(p.values + e, n);
      sums[0] += value * value, sums[1] += gain;
      sums[DECAYS + 3] += grad * lead, sums[DECAYS + 4] += lead * lead;
      sums[DECAYS + 5] += grad * value;
      if (SQUARE) {
        const Vec square = kept * load(p.square + e, n) + taken * gain;
        store(p.square + e, square, n);
        sums[2] += square;
      }
      for (int k = 0; k < KEPT; ++k) {
        float* at = p.momenta + k * p.apart + e;
        // Not as a step towards the gradient, which below the normal numbers would be none.
        const Vec momentum = static_cast<float>(DECAY[k]) * load(at, n) +
                             static_cast<float>(1 - DECAY[k]) * grad;
        store(at, momentum, n);
        sums[3 + k] += momentum * momentum;
      }
    }
    for (int k = 0; k < SUMS; ++k) piece.sums[k] += sum(sums[k]);
  }
}

inline void accumulate(const Parameter& p, Piece& piece) {
  if (p.kept == DECAYS) return accumulate<DECAYS, true>(p, piece);
  p.square ? accumulate<1, true>(p, piece) : accumulate<1, false>(p, piece);
}

// As in rules/_agreement.py, from inner product and squares of two vectors.
inline float cosine(double inner, double square, double other) {
  const double length = std::sqrt(square * other);
  return length > std::numeric_limits<float>::min() ? static_cast<float>(inner / length) : 0;
}

// As `opened_further` in rules/_opening.py.
inline void open(Parameter& p, float agreement, const Settings& settings) {
  if (*p.opened >= settings.widest() || agreement == 0) return;
  const float gained = std::min(OPENING * (agreement - UNOPENED), MOST_OPENING);
  *p.opened = std::clamp(*p.opened + gained, 0.0f, settings.widest());
}

// As `over_last_steps` there.
inline void follow(float& mean, float now, float decay) { mean += (1 - decay) * (now - mean); }

inline float rms(double square, long count) {
  return std::sqrt(static_cast<float>(square / count) + TINY);
}

// Adam's bias correction.
inline float correction(double decay, float step) {
  return static_cast<float>(-1 / std::expm1(step * std::log(decay)));
}

// As `follow` in rules/_fading.py.
inline void follow(Parameter& p, float loudness) {
  *p.loud += std::max(1 / *p.step, 1 - LOUD_DECAY) * (loudness * loudness - *p.loud);
  *p.loudest = std::max(*p.loudest, *p.loud);
}

// As `log_fading` there.
inline float log_fading(const Parameter& p, float exponent) {
  const float known = std::max(*p.loudest, std::numeric_limits<float>::min());
  return exponent / 2 * std::log(std::max(*p.loud / known, LEAST_LOUD));
}

// Makes the sums of all pieces into factors, and describes the parameter.
inline void scale(Parameter& p, const double* sums, const Settings& settings) {
  const float step = *p.step += 1;
  const long count = p.entries();
  const float size = rms(sums[0], count), loud = rms(sums[1], count);
  p.correct_square = correction(SQUARE_DECAY, step);
  const float level = static_cast<float>(sums[2] / count) * p.correct_square;
  p.level = p.correct_square / (level + TINY);
  p.size = 1 / size;
  const float typical = std::sqrt(level + TINY);
  float* context = p.context;
  *context++ = std::log(std::min(size, settings.weight_size) + 1e-4f);
  for (int k = 0; k < DECAYS; ++k) {
    const float loudness = rms(sums[3 + k], count);
    p.correct[k] = correction(DECAY[k], step);
    p.loudness[k] = 1 / loudness;
    if (k == 0) follow(p, loudness * p.correct[k]);
    *context++ = std::log(loudness * p.correct[k] / typical + 1e-4f);
  }
  *context++ = std::log(loud / typical + 1e-4f);
  std::copy(p.fans, p.fans + 3, context);
  for (int k = 1; k < DECAYS; ++k) {
    p.trend[k - 1] = k < p.kept ? p.context[1 + k] - p.context[1] : 0;
  }
  p.trend[DECAYS - 1] = log_fading(p, 1);
  p.trend[DECAYS] = std::max(*p.agreed, 0.0f) / AGREED_UNIT;
  p.trend[DECAYS + 1] = std::min(*p.agreed, 0.0f) / AGREED_UNIT;
  for (float& x : p.trend) x = std::clamp(x, -CLIP, CLIP);
}

// As `log_share` in rules/_relative.py, and that of dealt matrices.
inline float log_share(const Parameter& p, float relative) {
  const float known = p.fans[3], dealt = p.fans[4];
  if (known <= 0) return dealt;
  const float ratio = std::clamp(*p.start / known, 1 / LARGEST_RATIO, LARGEST_RATIO);
  return dealt + relative * std::log((*p.start > 0 ? ratio : 1) * known / TYPICAL_SIZE);
}

// As `Limits.distance` in rules/_limits.py, and `trust` there.
inline float distance(const Parameter& p, const Settings& settings) {
  const float high = std::max(0.0f, p.fans[1] - settings.log_fan_in);
  const float wide = std::max(0.0f, p.fans[0] - settings.log_fan_out);
  return std::log(std::max(*p.step / settings.horizon, 1.0f)) + high + wide;
}

inline float trust(float distance) {
  const float x = std::min(distance / REACH, 1.0f);
  return 1 - x * x * (3 - 2 * x);
}

// What the schedule reads.
inline void describe_time(const Parameter& p, float* to) {
  const float step = *p.step, total = *p.num_steps, known = total > 0;
  const float left = std::max(0.0f, 1 - step / std::max(total, 1.0f));
  for (float time : TIME) *to++ = std::tanh(step / time - 1);
  *to++ = known;
  *to++ = known * left;
  *to++ = known * (std::log(left + LAST) / -std::log(LAST));
  to = std::copy(p.fans, p.fans + 3, to);
  std::copy(p.trend, p.trend + TREND, to);
}

// How large the parameter's steps are, and how fast it follows them.
inline void pace(Parameter& p, const Schedule& schedule, const Settings& settings) {
  float inputs[SCHEDULE];
  describe_time(p, inputs);
  const float beyond = distance(p, settings);
  p.trust = settings.careful ? 1 : trust(beyond);
  float written[WRITTEN], untrained[WRITTEN] = {settings.initial_log_size, INITIAL_LOG_RECENCY};
  for (int o = 0; o < WRITTEN; ++o) {
    written[o] = schedule.bias[o];
    for (int k = 0; k < SCHEDULE; ++k) {
      written[o] += schedule.weight[o * SCHEDULE + k] * inputs[k];
    }
    written[o] -= (1 - p.trust) * (written[o] - untrained[o]);
  }
  const float age = std::log(std::min(*p.step, settings.memory));
  const float pace = written[0] + log_fading(p, settings.fading) + *p.opened - settings.widest() -
                     (settings.careful ? beyond : 0);
  p.log_size = pace + log_share(p, settings.relative);
  // As `shrinking` in rules/_scaling.py.
  const float asked = std::clamp(*p.asked / ASKED_UNIT, -MOST_GROWTH, 1.0f);
  const float soon = std::min(1.0f, SCALED_ALIKE / *p.step);
  p.shrinking = p.is_polar() ? settings.scaling * std::exp(pace) * asked * soon : 0;
  p.recency = written[1] - age;
}

}  // namespace nfn
