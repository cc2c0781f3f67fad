"""Data sets by name, read where they are asked for, and which of them meta-training may read."""

from ._files import find_file as find_file
from ._images import Dataset as Dataset
from ._images import load_data as load_data
from ._roles import CLASS_TABLES as CLASS_TABLES
from ._roles import IMAGES as IMAGES
from ._roles import REGRESSION_TABLES as REGRESSION_TABLES
from ._roles import SERIES as SERIES
from ._roles import SIGNALS as SIGNALS
from ._roles import TABLES as TABLES
from ._roles import TEXTS as TEXTS
from ._roles import file_of as file_of
from ._signals import load_series as load_series
from ._signals import load_signals as load_signals
from ._tables import Table as Table
from ._tables import load_table as load_table
from ._texts import Text as Text
from ._texts import load_text as load_text

__all__ = [  # the other names are for the folders beside
    "Dataset",
    "Table",
    "Text",
    "load_data",
    "load_series",
    "load_signals",
    "load_table",
    "load_text",
]
