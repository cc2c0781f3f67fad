"""The user's own tasks: a family or a list, in memory or in a file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meta_train import Contender, Task, TaskFamily, evaluate
from meta_train.evaluation import evaluation_tasks, find_tasks
from meta_train.evaluation.contenders import SGD
from meta_train.evaluation.field import as_problem
from meta_train.tasks import ModuleTask, Params
from nfn_optim import NetworkSpec, NFNOptimizer

FILE = """
import torch
from torch import nn
from meta_train import EvaluationTask, Problem, TaskFamily
from meta_train.tasks import ModuleTask


def task(generator, width):
    x = torch.rand(40, 3, generator=generator)
    build = lambda: nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
    y = x.sum(1, keepdim=True)
    return ModuleTask(build, nn.functional.mse_loss, (x, y), test_data=(x, y), batch_size=8)


class Sums(TaskFamily):
    def sample(self, generator):
        return task(generator, int(torch.randint(3, 9, (), generator=generator)))


def pose(generator):
    x = torch.rand(40, 3, generator=generator)
    return Problem(nn.Linear(3, 1), [x], lambda model, batch: model(batch).square().mean())


family = Sums()
some = [task(torch.Generator().manual_seed(0), 4), EvaluationTask(name="posed", problem=pose)]
nothing, wrong = [], [3]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of the user's."""
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return "mine.py"


def make_sgd(module: nn.Module, lr: float, num_steps: int) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr)


LOOP = Contender(name="loop", rates=(0.1,), schedules=("constant",), make_optimizer=make_sgd)


class Bare(Task):
    """A line through points, without a module; it counts its steps."""

    spec = NetworkSpec({"line.slope": ("out",)}, {"line.slope": (2,)})
    carried = frozenset({"steps"})

    def init(self, generator: torch.Generator) -> Params:
        return {"line.slope": torch.randn(2, generator=generator), "steps": torch.zeros(())}

    def batch(self, generator: torch.Generator) -> Tensor:
        return torch.rand(5, 2, generator=generator)

    def loss(self, params: Params, batch: Tensor) -> Tensor:
        params["steps"] = params["steps"] + 1
        return (batch @ params["line.slope"] - 1).square().mean()

    def evaluate(self, params: Params) -> dict[str, Tensor]:
        return {"steps": params["steps"]}


class Doubled(ModuleTask):
    """A module with a loss of its own."""

    def loss(self, params: Params, batch: tuple[Tensor, Tensor]) -> Tensor:
        return 2 * super().loss(params, batch)


class Named(nn.Module):
    """Its parts have names that a task's network has attributes of."""

    def __init__(self) -> None:
        super().__init__()
        self.task, self.spec, self.tensors = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tensors(self.spec(self.task(x).tanh()).tanh())


def test_draws_of_a_family_are_fixed_and_differ(file: str) -> None:
    tasks = find_tasks([f"{file}:family"], draws=3, num_steps=7)
    assert [(t.name, t.num_steps) for t in tasks] == [(f"family-{i}", 7) for i in range(3)]
    weights = [t.start(0).model[0].weight for t in tasks]
    again = [t.start(0).model[0].weight for t in find_tasks([f"{file}:family"], draws=3)]
    assert all(map(torch.equal, weights, again))
    assert len({w.sum().item() for w in weights}) == 3


def test_a_list_may_hold_both_kinds(file: str) -> None:
    tasks = find_tasks([f"{file}:some"])
    assert [(t.name, t.num_steps) for t in tasks] == [("some-0", 500), ("posed", 300)]
    assert tasks[0].task is not None
    assert tasks[1].task is None


def test_other_processes_load_the_file_again(file: str) -> None:
    tasks = find_tasks([f"{file}:family", f"{file}:some"], draws=1, num_steps=10)
    found = evaluate("untrained", tasks, peers=[SGD.at(0.1)], num_seeds=1, processes=2)
    row = found.row("family-0", "untrained")
    assert list(row.scores) == ["test_loss"]
    assert not any(row.failure for row in found.rows)


def test_a_family_in_memory_is_compared_on_at_once(toy: ModuleTask) -> None:
    class Toys(TaskFamily):
        def sample(self, generator: torch.Generator) -> Task:
            return toy

    tasks = evaluation_tasks(Toys(), name="toy", draws=2, num_steps=5)
    found = evaluate("untrained", tasks, peers=[SGD.at(0.1)], num_seeds=1, costs=False)
    assert [task.name for task in found.tasks] == ["toy-0", "toy-1"]
    assert list(found.row("toy-0", "sgd@0.1").scores) == ["test_accuracy"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nothing", ValueError, "nothing is an empty list"),
        ("wrong", TypeError, "wrong holds a int"),
        ("none", ValueError, "has no 'none'"),
    ],
)
def test_what_is_no_task_is_refused(
    file: str, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        find_tasks([f"{file}:{name}"])


def test_counts_must_be_positive(toy: ModuleTask) -> None:
    with pytest.raises(ValueError, match=r"draws \(0\)"):
        evaluation_tasks([toy], draws=0)


def test_a_task_without_a_module_is_trained_as_its_tensors() -> None:
    found = evaluate("untrained", [Bare()], peers=[SGD.at(0.1), LOOP], num_seeds=1)
    assert not any(row.failure for row in found.rows)
    assert {row.scores["steps"].mean for row in found.rows} == {500}
    problem = as_problem(Bare(), torch.Generator().manual_seed(0))
    optimizer = NFNOptimizer(problem.model, spec=problem.model.spec)
    assert optimizer.coverage().share == 1


def test_a_loss_of_ones_own_is_what_is_trained() -> None:
    data = torch.rand(20, 3), torch.rand(20, 1)
    build: Callable[[], nn.Module] = lambda: nn.Linear(3, 1)  # noqa: E731
    losses = []
    for kind in (ModuleTask, Doubled):
        problem = as_problem(kind(build, F.mse_loss, data), torch.Generator().manual_seed(0))
        losses.append(problem.loss(problem.model, next(iter(problem.batches))).item())
    assert losses[1] == pytest.approx(2 * losses[0])


def test_tensors_may_have_any_names() -> None:
    data = torch.rand(20, 3), torch.rand(20, 1)
    task = Doubled(Named, F.mse_loss, data, test_data=data)
    start = task.init(torch.Generator().manual_seed(0))
    model = as_problem(task, torch.Generator().manual_seed(0)).model
    assert {n: p.shape for n, p in model.state_dict().items()} == {
        n: p.shape for n, p in start.items()
    }
    assert NFNOptimizer(model, spec=model.spec).coverage().share == 1
    found = evaluate("untrained", [task], peers=[SGD.at(0.1), LOOP], num_seeds=1)
    assert not any(row.failure for row in found.rows)


def test_a_name_may_be_the_start_of_another() -> None:
    class Nested(Bare):
        spec = NetworkSpec(
            {"line": ("out",), "line.slope": ("out",)}, {"line": (2,), "line.slope": (2,)}
        )
        carried = frozenset()

        def init(self, generator: torch.Generator) -> Params:
            return {"line": torch.zeros(2), "line.slope": torch.zeros(2)}

    model = as_problem(Nested(), torch.Generator().manual_seed(0)).model
    assert [n for n, _ in model.named_parameters()] == ["line", "line.slope"]
