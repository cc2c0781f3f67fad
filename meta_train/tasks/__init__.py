"""Task families to meta-train on, and the data behind them."""

from ._base import Batch as Batch
from ._base import ModuleTask as ModuleTask
from ._base import Params as Params
from ._base import Task as Task
from ._base import TaskFamily as TaskFamily
from ._base import stack as stack
from ._data import Dataset as Dataset
from ._data import load_data as load_data
from ._families import DigitsCNNs as DigitsCNNs
from ._families import DigitsMLPs as DigitsMLPs
from ._families import Mixture as Mixture
from ._families import TeacherMLPs as TeacherMLPs
from ._families import default_family as default_family
from ._families import mlp as mlp
