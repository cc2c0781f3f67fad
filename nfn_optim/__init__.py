"""A learned optimizer for PyTorch, and the permutation-equivariant layers that it is made of."""

from importlib.metadata import version

from ._checkpoint import load_rule as load_rule
from ._checkpoint import read_card as read_card
from ._checkpoint import save_rule as save_rule
from ._features import WeightSpaceFeatures as WeightSpaceFeatures
from ._optimizer import NFNOptimizer as NFNOptimizer
from ._spec import NetworkSpec as NetworkSpec
from ._spec import SpecError as SpecError
from .rules import AdamRule as AdamRule
from .rules import NFNRule as NFNRule
from .rules import SGDRule as SGDRule
from .rules import UpdateRule as UpdateRule

__version__ = version("nfn-optim")
