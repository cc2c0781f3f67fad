"""What the other folders share: checks, paths, provenance, fingerprints, the cache, seeds."""

from ._cache import remember as remember
from ._checks import require_counts as require_counts
from ._checks import require_not_negative as require_not_negative
from ._checks import require_positive as require_positive
from ._checks import require_shares as require_shares
from ._device import find_device as find_device
from ._fingerprint import fingerprint as fingerprint
from ._json import clean as clean
from ._paths import check_output as check_output
from ._paths import check_overwrite as check_overwrite
from ._progress import Progress as Progress
from ._provenance import provenance as provenance
from ._provenance import versions as versions
from ._reference import load_reference as load_reference
from ._seeds import random_state as random_state
from ._seeds import seed_all as seed_all
from ._seeds import seeded as seeded
