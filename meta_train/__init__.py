"""Meta-training of learned optimizers: families of tasks, unrolled inner training, evaluation."""

from .estimators import PES as PES
from .estimators import FullES as FullES
from .estimators import MetaLoss as MetaLoss
from .estimators import NoiseReuseES as NoiseReuseES
from .estimators import TruncatedBPTT as TruncatedBPTT
from .evaluation import Contender as Contender
from .evaluation import Evaluation as Evaluation
from .evaluation import EvaluationTask as EvaluationTask
from .evaluation import Problem as Problem
from .evaluation import evaluate as evaluate
from .evaluation import evaluation_tasks as evaluation_tasks
from .higher import register_higher as register_higher
from .inner import InnerConfig as InnerConfig
from .inner import Losses as Losses
from .inner import Unrolled as Unrolled
from .inner import unroll as unroll
from .suites import run_suite as run_suite
from .tasks import Task as Task
from .tasks import TaskFamily as TaskFamily
from .tasks import load_data as load_data
from .training import FINE_TUNING as FINE_TUNING
from .training import MetaTrainer as MetaTrainer
from .training import OuterConfig as OuterConfig
from .training import RuleConfig as RuleConfig
from .training import RunConfig as RunConfig
from .training import ValidationConfig as ValidationConfig
from .training import load_family as load_family

__all__ = [
    "FINE_TUNING",
    "PES",
    "Contender",
    "Evaluation",
    "EvaluationTask",
    "FullES",
    "InnerConfig",
    "Losses",
    "MetaLoss",
    "MetaTrainer",
    "NoiseReuseES",
    "OuterConfig",
    "Problem",
    "RuleConfig",
    "RunConfig",
    "Task",
    "TaskFamily",
    "TruncatedBPTT",
    "Unrolled",
    "ValidationConfig",
    "evaluate",
    "evaluation_tasks",
    "load_data",
    "load_family",
    "register_higher",
    "run_suite",
    "unroll",
]
