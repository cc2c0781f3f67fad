"""Comparing optimizers: tasks, contenders, tuned sweeps, figures, reports."""

from ._evaluate import EXTENSIONS as EXTENSIONS
from ._evaluate import PEERS as PEERS
from ._evaluate import evaluate as evaluate
from ._gate import Condition as Condition
from ._gate import gate as gate
from ._gate import loss_ratio as loss_ratio
from ._speedup import speedup as speedup
from .contenders import ADAM as ADAM
from .contenders import Contender as Contender
from .contenders import find_contender as find_contender
from .field import EvaluationTask as EvaluationTask
from .field import Problem as Problem
from .field import evaluation_tasks as evaluation_tasks
from .field import find_tasks as find_tasks
from .field import users_task as users_task
from .report import Curve as Curve
from .report import Evaluation as Evaluation
from .report import Measured as Measured
from .report import Row as Row
from .report import TaskInfo as TaskInfo
from .report import draw_panels as draw_panels
from .report import from_json as from_json
from .report import to_json as to_json
from .report import to_markdown as to_markdown
from .report import write_page as write_page

__all__ = [  # the other names are for the commands
    "Condition",
    "Contender",
    "Curve",
    "Evaluation",
    "EvaluationTask",
    "Measured",
    "Problem",
    "Row",
    "TaskInfo",
    "evaluate",
    "evaluation_tasks",
    "find_contender",
    "find_tasks",
    "from_json",
    "gate",
    "to_json",
    "to_markdown",
    "write_page",
]
