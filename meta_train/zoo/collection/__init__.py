"""Collections: networks that somebody else trained, of any widths and depths, and their labels."""

from ._build import from_modules as from_modules
from ._build import from_state_dicts as from_state_dicts
from ._collection import Collection as Collection
from ._labels import Value as Value
from ._networks import Networks as Networks
