"""Meta-training: the outer loop, its settings, files and checks."""

from ._family_source import DEFAULT_TASKS as DEFAULT_TASKS
from ._run import train as train
from ._tracking import WandbMode as WandbMode
from ._trainer import MetaTrainer as MetaTrainer
