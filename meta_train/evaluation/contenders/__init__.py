"""Who is compared: peers from their packages, tuned and as people start, and the learned rule."""

from ._contender import SCHEDULES as SCHEDULES
from ._contender import Contender as Contender
from ._contender import MakeOptimizer as MakeOptimizer
from ._contender import MakeRule as MakeRule
from ._contender import Setting as Setting
from ._find import find_contender as find_contender
from ._find import require_packages as require_packages
from ._muon import MuonWithAdamW as MuonWithAdamW
from ._ours import SHIPPED as SHIPPED
from ._ours import UNTRAINED as UNTRAINED
from ._ours import has_learned as has_learned
from ._ours import learned as learned
from ._ours import name_of_default as name_of_default
from ._ours import untrained as untrained
from ._ours import with_references as with_references
from ._peers import ADAM as ADAM
from ._peers import ADAMW as ADAMW
from ._peers import SGD as SGD
from ._peers import TUNED as TUNED
from ._peers import UNTUNED as UNTUNED
