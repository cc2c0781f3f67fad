"""Collections: networks that somebody else trained, of any widths and depths, and their labels."""

from ._build import from_modules as from_modules
from ._build import from_state_dicts as from_state_dicts
from ._collection import Collection as Collection
from ._labels import Value as Value
from ._labels import check_columns as check_columns
from ._labels import read_columns as read_columns
from ._networks import Networks as Networks
