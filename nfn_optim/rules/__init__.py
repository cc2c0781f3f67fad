"""Update rules: optimizers as pure functions."""

from ._base import Params as Params
from ._base import RuleState as RuleState
from ._base import UpdateRule as UpdateRule
from ._elementwise import ElementwiseRule as ElementwiseRule
from ._hand import AdamRule as AdamRule
from ._hand import SGDRule as SGDRule
from ._nfn import NFNRule as NFNRule
from ._nfn import NFNRuleConfig as NFNRuleConfig
