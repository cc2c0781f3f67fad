// The rule's constants, which `_library.py` takes from the modules that own them.
#pragma once

namespace nfn {

constexpr int DECAYS = RULE_NUM_DECAYS, TIMES = RULE_NUM_TIMES, INPUTS = RULE_ENTRY_CHANNELS;
constexpr int CONTEXT = RULE_CONTEXT_CHANNELS, WRITTEN = 2;
constexpr int VALUE = 2 + 2 * DECAYS;  // position of the parameter among the channels
constexpr int SUMS = DECAYS + 6;  // over the entries of a parameter
constexpr int TREND = RULE_TREND_CHANNELS, SCHEDULE = RULE_SCHEDULE_CHANNELS + TREND;

constexpr double DECAY[DECAYS] = RULE_DECAYS, SQUARE_DECAY = RULE_SQUARE_DECAY;
constexpr float TIME[TIMES] = RULE_TIMES;
constexpr float TINY = RULE_TINY, CLIP = RULE_CLIP, LAST = RULE_LAST;
constexpr float REACH = RULE_REACH, INITIAL_LOG_RECENCY = RULE_INITIAL_LOG_RECENCY;
constexpr float LOUD_DECAY = RULE_LOUD_DECAY, LEAST_LOUD = RULE_LEAST_LOUD;
constexpr float LARGEST_RATIO = RULE_LARGEST_RATIO, TYPICAL_SIZE = RULE_TYPICAL_SIZE;
constexpr float OPENING = RULE_OPENING, UNOPENED = RULE_UNOPENED, MOST_OPENING = RULE_MOST_OPENING;
constexpr float AGREED_DECAY = RULE_AGREED_DECAY, AGREED_UNIT = RULE_AGREED_UNIT;
constexpr float ASKED_DECAY = RULE_ASKED_DECAY, ASKED_UNIT = RULE_ASKED_UNIT;
constexpr float MOST_GROWTH = RULE_MOST_GROWTH, SCALED_ALIKE = RULE_SCALED_ALIKE;
constexpr float UNPOINTED = RULE_UNPOINTED;
constexpr float MAX_LOG_MAGNITUDE = RULE_MAX_LOG_MAGNITUDE;
constexpr float FOLLOWED = RULE_BETA, LED = 1 - RULE_BETA;

constexpr float STEEP_DECAY = RULE_STEEP_DECAY, STEEP_EXPONENT = RULE_STEEP_EXPONENT;
constexpr float LEAST_NEW = RULE_LEAST_NEW, RIDGE = RULE_RIDGE;

constexpr float POLAR_COEFFICIENTS[3] = RULE_POLAR_COEFFICIENTS;
constexpr int POLAR_STEPS = RULE_POLAR_STEPS;

}  // namespace nfn
