"""Training of thousands of networks at once."""

from ._engine import Draw as Draw
from ._engine import Population as Population
from ._engine import Progress as Progress
from ._engine import chunk_seed as chunk_seed
from ._engine import chunks as chunks
from ._engine import evaluate as evaluate
from ._engine import join as join
from ._problem import Classification as Classification
from ._problem import Regression as Regression
from ._rows import as_params as as_params
from ._rows import as_rows as as_rows
from ._sine import Sine as Sine
from ._sine import field as field
from ._stacked import check as check
from ._stacked import cross_entropy as cross_entropy
from ._stacked import hidden_channels as hidden_channels
