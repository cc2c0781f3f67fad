"""Constants of the learned rule, which the native step is compiled with."""

from __future__ import annotations

# What the rule accumulates, and the channels that it reads.
DECAYS = (0.5, 0.9, 0.99)
SQUARE_DECAY = 0.999
# One number a parameter.
SCALARS = ("step", "num_steps", "size", "loud", "loudest", "opened", "agreed", "asked")
UNCUT = (*SCALARS, "steep")  # what every process has where parameters are cut
TIMES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
ENTRY_CHANNELS = 4 + 2 * len(DECAYS)
DIRECTION = 0  # position of the direction among the channels
CONTEXT_CHANNELS = 8
SCHEDULE_CHANNELS = len(TIMES) + 6
TREND_CHANNELS = 5
WIDE_TRENDS = 2  # of these, the first: they take all momenta
CLIP = 5.0
TINY = 1e-24  # added under roots: gradients below its root count as zero
TYPICAL_FAN = 32
LARGEST_RATIO = 30.0  # of weights' size at the start and that of torch's layers, either way
LOUD_DECAY = 0.95  # of the mean square of gradients that steps fade with
AGREED_DECAY = 0.99
AGREED_UNIT = 0.1  # in which agreement is shown
ASKED_DECAY = 0.98
ASKED_UNIT = 0.01  # from which on matrices become smaller as fast as they may
MOST_GROWTH = 0.125  # of that, where they become larger: in deep networks growth multiplies
SCALED_ALIKE = 150.0  # steps from which on this becomes less, as one over their number
UNPOINTED = 1e-3  # size of an entry's direction below which it is not scaled
LEAST_LOUD = 1e-8  # share of the largest such below which steps fade no further
REACH = 2.0  # log of how far beyond its limits a rule uses some of what it has learned
LAST = 0.01  # share of a run of known length below which what is left of it counts as nothing

# How steps open.
OPENING = 4.0  # log by which they become larger in a step, for each unit of agreement
UNOPENED = -0.01  # agreement up to which they do not
MOST_OPENING = 0.7  # largest such log

# Steps.
BETA = 0.9  # share of the average in the point where gradients are taken
INITIAL_LOG_RECENCY = 0.5
MAX_LOG_MAGNITUDE = 6.0

# The polar factor.
BAND = 64  # most rows of a large matrix that get a polar factor together on a CPU
BAND_EXPONENT = 0.25  # with which steps shrink with the number of bands
POLAR_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
POLAR_STEPS = 5

# Directions along which gradients are large.
STEEP = 8  # on either side of a matrix
STEEP_DECAY = 0.98
STEEP_EXPONENT = 0.25  # with which their share of the momenta damps steps, before and after
LEAST_NEW = 0.01  # share of a direction that those before do not have; with less it is dropped
RIDGE = 1e-6  # added to the diagonal of directions' inner products
