"""What is trained: problems that people train, and small networks that rules train as one stack."""

from ._own import NUM_DRAWS as NUM_DRAWS
from ._own import Tasks as Tasks
from ._own import evaluation_tasks as evaluation_tasks
from ._own import load_tasks as load_tasks
from ._problem import Batch as Batch
from ._problem import Problem as Problem
from ._sets import TASK_SETS as TASK_SETS
from ._sets import find_tasks as find_tasks
from ._task import EvaluationTask as EvaluationTask
from ._task import as_problem as as_problem
from ._users import users_task as users_task
