"""Meta-training of learned optimizers: families of tasks, unrolled inner training, evaluation."""

from ._baselines import Contender as Contender
from ._config import TrainConfig as TrainConfig
from ._evaluate import evaluate as evaluate
from ._higher import register_higher as register_higher
from ._results import Evaluation as Evaluation
from ._trainer import MetaTrainer as MetaTrainer
from ._unroll import Unrolled as Unrolled
from ._unroll import unroll as unroll
from .estimators import PES as PES
from .estimators import FullES as FullES
from .estimators import NoiseReuseES as NoiseReuseES
from .estimators import TruncatedBPTT as TruncatedBPTT
from .suites import run_suite as run_suite
from .tasks import Task as Task
from .tasks import TaskFamily as TaskFamily
from .tasks import load_data as load_data
from .tasks._evaluation import EvaluationTask as EvaluationTask
