"""Update rules: optimizers as pure functions."""

from ._averaging import ScheduleFreeRule as ScheduleFreeRule
from ._base import Params as Params
from ._base import RuleState as RuleState
from ._base import Slots as Slots
from ._base import UpdateRule as UpdateRule
from ._base import with_length as with_length
from ._config import NFNRuleConfig as NFNRuleConfig
from ._direction import Spectral as Spectral
from ._elementwise import ElementwiseRule as ElementwiseRule
from ._fixed import Kept as Kept
from ._fixed import keeping as keeping
from ._hand import AdamRule as AdamRule
from ._hand import SGDRule as SGDRule
from ._inputs import log_fans as log_fans
from ._limits import Limits as Limits
from ._nfn import NFNRule as NFNRule
from ._relative import default_size as default_size
from ._relative import default_sizes as default_sizes
from ._share import Share as Share
from ._slots import Reads as Reads
from ._slots import accumulate as accumulate
from ._slots import is_narrow as is_narrow
from ._slots import narrowed as narrowed

__all__ = [  # the other names are for the folders above
    "AdamRule",
    "Limits",
    "NFNRule",
    "NFNRuleConfig",
    "Params",
    "RuleState",
    "SGDRule",
    "ScheduleFreeRule",
    "UpdateRule",
]
