"""Meta-training: the outer loop, its settings, files and checks."""

from ._config import FINE_TUNING as FINE_TUNING
from ._config import Estimator as Estimator
from ._config import RunConfig as RunConfig
from ._family_source import DEFAULT_TASKS as DEFAULT_TASKS
from ._family_source import load_family as load_family
from ._family_source import load_reference_to as load_reference_to
from ._files import best_path as best_path
from ._files import check_start as check_start
from ._files import journal_path as journal_path
from ._files import tensorboard_path as tensorboard_path
from ._journal import read_journal as read_journal
from ._launch import check_shares as check_shares
from ._launch import is_started as is_started
from ._launch import launch as launch
from ._monitor import left_out as left_out
from ._outer import OuterConfig as OuterConfig
from ._rule import RuleConfig as RuleConfig
from ._run import run_display as run_display
from ._run import run_meta_training as run_meta_training
from ._settings import from_plain as from_plain
from ._tracking import WandbMode as WandbMode
from ._trainer import MetaTrainer as MetaTrainer
from ._validation import ValidationConfig as ValidationConfig
