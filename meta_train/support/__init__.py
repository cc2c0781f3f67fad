"""What the other folders share: checks, paths, provenance, fingerprints, the cache."""

from ._bars import say as say
from ._bars import shown as shown
from ._cache import remember as remember
from ._checks import require_counts as require_counts
from ._checks import require_not_negative as require_not_negative
from ._checks import require_positive as require_positive
from ._checks import require_shares as require_shares
from ._device import find_device as find_device
from ._fingerprint import fingerprint as fingerprint
from ._json import clean as clean
from ._notes import add_note as add_note
from ._notes import notes_of as notes_of
from ._origin import in_packages as in_packages
from ._origin import keep_traceback as keep_traceback
from ._origin import users_traceback as users_traceback
from ._paths import check_output as check_output
from ._paths import check_overwrite as check_overwrite
from ._progress import Progress as Progress
from ._provenance import provenance as provenance
from ._provenance import versions as versions
from ._reference import load_reference as load_reference
from ._signals import ENDING as ENDING
from ._signals import Interrupted as Interrupted
from ._signals import interruptible as interruptible
from ._signals import on_signals as on_signals
