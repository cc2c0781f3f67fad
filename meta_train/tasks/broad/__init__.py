"""Families of tasks on all data that meta-training may read, with all kinds of networks."""

from ._bootstrapped import BootstrappedValues as BootstrappedValues
from ._family import SUB_FAMILIES as SUB_FAMILIES
from ._family import Complete as Complete
from ._family import broad_family as broad_family
from ._family import files_of as files_of
from ._fine_tuning import FineTuning as FineTuning
from ._functions import Functions as Functions
from ._functions import ImageFields as ImageFields
from ._functions import MovingTargets as MovingTargets
from ._generative import Denoisers as Denoisers
from ._generative import ImageAutoencoders as ImageAutoencoders
from ._generative import VAEs as VAEs
from ._images import ImageClassifiers as ImageClassifiers
from ._physics import Equations as Equations
from ._signals import Forecasts as Forecasts
from ._signals import SignalClassifiers as SignalClassifiers
from ._tables import MeasuredTables as MeasuredTables
from ._texts import Languages as Languages
from ._texts import NextCharacters as NextCharacters
