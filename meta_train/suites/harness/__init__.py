"""What a suite is and how it runs, whatever its task: interface, training, outcomes, results."""

from ._choose import choose as choose
from ._entrant import check_methods as check_methods
from ._entrant import entrants as entrants
from ._examples import Examples as Examples
from ._examples import Raw as Raw
from ._fit import FitConfig as FitConfig
from ._fit import Objective as Objective
from ._fit import fit as fit
from ._fit import predict as predict
from ._fit import seeded as seeded
from ._interface import Classifiers as Classifiers
from ._interface import Interface as Interface
from ._method import Method as Method
from ._method import Wrapper as Wrapper
from ._plots import plot_bars as plot_bars
from ._plots import plot_images as plot_images
from ._plots import plot_scatter as plot_scatter
from ._result import MethodResult as MethodResult
from ._result import SuiteResult as SuiteResult
from ._suite import Data as Data
from ._suite import Experiment as Experiment
from ._suite import Outcome as Outcome
from ._suite import Size as Size
from ._suite import StageProgress as StageProgress
from ._suite import Suite as Suite
from ._supervised import Supervised as Supervised
