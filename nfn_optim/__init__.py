"""A learned optimizer for PyTorch, and the permutation-equivariant layers that it is made of."""

from importlib.metadata import version

from .optimizer import NFNOptimizer as NFNOptimizer
from .optimizer import load_rule as load_rule
from .optimizer import read_card as read_card
from .optimizer import save_rule as save_rule
from .rules import AdamRule as AdamRule
from .rules import NFNRule as NFNRule
from .rules import SGDRule as SGDRule
from .rules import UpdateRule as UpdateRule
from .symmetry import Heads as Heads
from .symmetry import NetworkSpec as NetworkSpec
from .symmetry import SpecError as SpecError
from .symmetry import WeightSpaceFeatures as WeightSpaceFeatures

__version__ = version("nfn-optim")

__all__ = [  # `read_card` is for the commands
    "AdamRule",
    "Heads",
    "NFNOptimizer",
    "NFNRule",
    "NetworkSpec",
    "SGDRule",
    "SpecError",
    "UpdateRule",
    "WeightSpaceFeatures",
    "load_rule",
    "save_rule",
]
