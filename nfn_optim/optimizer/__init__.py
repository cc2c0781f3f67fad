"""The learned rule as a `torch.optim.Optimizer`, and its checkpoints."""

from ._checkpoint import checkpoint_path as checkpoint_path
from ._checkpoint import load_rule as load_rule
from ._checkpoint import read_card as read_card
from ._checkpoint import save_rule as save_rule
from ._optimizer import NFNOptimizer as NFNOptimizer
from ._placement import spec_of as spec_of
from ._rates import kept_share as kept_share
from ._rates import rate_of as rate_of
