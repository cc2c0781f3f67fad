"""Task families to meta-train on, and the data behind them."""

from ..data import Dataset as Dataset
from ..data import Table as Table
from ..data import Text as Text
from ..data import load_data as load_data
from ..data import load_series as load_series
from ..data import load_signals as load_signals
from ..data import load_table as load_table
from ..data import load_text as load_text
from ._augment import Augmentation as Augmentation
from ._augment import PermutedInputs as PermutedInputs
from ._augment import PermutedLabels as PermutedLabels
from ._augment import ReparametrizedWeights as ReparametrizedWeights
from ._augment import ScaledLoss as ScaledLoss
from ._base import Batch as Batch
from ._base import ModuleTask as ModuleTask
from ._base import Params as Params
from ._base import Task as Task
from ._base import TaskFamily as TaskFamily
from ._base import draw_batches as draw_batches
from ._base import stack as stack
from ._draw import mlp as mlp
from ._families import DigitsCNNs as DigitsCNNs
from ._families import DigitsMLPs as DigitsMLPs
from ._families import Mixture as Mixture
from ._families import TeacherMLPs as TeacherMLPs
from ._families import default_family as default_family
from ._general import general_family as general_family
from ._general import light_family as light_family
from ._images import Autoencoders as Autoencoders
from ._images import ImageCNNs as ImageCNNs
from ._images import ImageMLPs as ImageMLPs
from ._tables import Tables as Tables
from .broad import broad_family as broad_family
from .broad import files_of as files_of

__all__ = [  # the other names are for the folders beside
    "Autoencoders",
    "Dataset",
    "DigitsCNNs",
    "DigitsMLPs",
    "ImageCNNs",
    "ImageMLPs",
    "Mixture",
    "ModuleTask",
    "PermutedInputs",
    "PermutedLabels",
    "ReparametrizedWeights",
    "ScaledLoss",
    "Table",
    "Tables",
    "Task",
    "TaskFamily",
    "TeacherMLPs",
    "Text",
    "broad_family",
    "default_family",
    "files_of",
    "general_family",
    "light_family",
    "load_data",
    "load_series",
    "load_signals",
    "load_table",
    "load_text",
    "mlp",
    "stack",
]
