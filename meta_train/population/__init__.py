"""Training of thousands of networks at once."""

from ._engine import IndexedBatch as IndexedBatch
from ._engine import Population as Population
from ._engine import chunk_seed as chunk_seed
from ._engine import chunks as chunks
from ._engine import join as join
from ._engine import outputs_of as outputs_of
from ._objective import Classification as Classification
from ._objective import Regression as Regression
from ._rows import as_params as as_params
from ._rows import as_rows as as_rows
from ._sine import Sine as Sine
from ._sine import siren_values as siren_values
from ._stacked import check_layers as check_layers
from ._stacked import cross_entropy as cross_entropy
from ._stacked import hidden_channels as hidden_channels
