"""Training every contender on every task: runs, tuning, the cache, what a step costs."""

from ._best import best_setting as best_setting
from ._best import curves as curves
from ._costs import peak_bytes as peak_bytes
from ._costs import seconds_per_step as seconds_per_step
from ._run import Run as Run
from ._session import LOOKING as LOOKING
from ._session import MORE_SEEDS as MORE_SEEDS
from ._session import TRAINING as TRAINING
from ._session import WIDER as WIDER
from ._session import Entry as Entry
from ._session import Session as Session
from ._session import Starts as Starts
from ._session import look_at_all as look_at_all
