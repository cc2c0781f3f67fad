"""Zoos: thousands of small networks trained at once, to learn from their weights."""

from nfn_optim.cache import cache_folder as cache_folder

from ._classifiers import CLASSIFIER_LABELS as CLASSIFIER_LABELS
from ._classifiers import build_each as build_each
from ._classifiers import small_cnn as small_cnn
from ._classifiers import train_classifiers as train_classifiers
from ._field_starts import dws_start as dws_start
from ._fields import FieldConfig as FieldConfig
from ._fields import evaluate_fields as evaluate_fields
from ._fields import fit_fields as fit_fields
from ._fields import fit_sirens as fit_sirens
from ._fields import image_grid as image_grid
from ._fields import image_values as image_values
from ._fields import siren as siren
from ._files import Zoo as Zoo
from ._files import is_zoo as is_zoo
from ._files import load_zoo as load_zoo
from ._files import save_zoo as save_zoo
from ._hyperparameters import ClassifierConfig as ClassifierConfig
from ._learned_fits import LearnedFit as LearnedFit
from ._learned_fits import LearningConfig as LearningConfig
from ._learned_fits import learn_fit as learn_fit
from ._small_cnn_zoo import read_small_cnn_zoo as read_small_cnn_zoo
from .collection import Collection as Collection
from .collection import Networks as Networks
from .collection import Value as Value
from .collection import check_columns as check_columns
from .collection import from_modules as from_modules
from .collection import from_state_dicts as from_state_dicts
from .collection import read_columns as read_columns

__all__ = [  # the other names are for the folders beside
    "ClassifierConfig",
    "Collection",
    "FieldConfig",
    "LearnedFit",
    "LearningConfig",
    "Networks",
    "Zoo",
    "cache_folder",
    "dws_start",
    "evaluate_fields",
    "fit_fields",
    "fit_sirens",
    "from_modules",
    "from_state_dicts",
    "image_grid",
    "image_values",
    "learn_fit",
    "load_zoo",
    "read_small_cnn_zoo",
    "save_zoo",
    "siren",
    "small_cnn",
    "train_classifiers",
]
