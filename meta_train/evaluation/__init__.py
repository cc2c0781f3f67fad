"""Comparing optimizers: tasks, contenders, tuned sweeps, figures."""

from ._contenders import ADAM as ADAM
from ._contenders import Contender as Contender
from ._contenders import find_baseline as find_baseline
from ._evaluate import evaluate as evaluate
from ._measures import STEPS as STEPS
from ._report import draw_curve as draw_curve
from ._report import plot as plot
from ._report import to_json as to_json
from ._report import to_markdown as to_markdown
from ._results import Evaluation as Evaluation
from ._statistics import WINDOW as WINDOW
from ._statistics import final_loss as final_loss
from ._statistics import loss_at as loss_at
from ._statistics import smoothed as smoothed
from ._statistics import steps_to as steps_to
from ._tasks import EvaluationTask as EvaluationTask
from ._tasks import find_tasks as find_tasks
