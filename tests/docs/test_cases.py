"""The cases of docs/cases.md can be trained, and the page has all of them."""

import math

import pytest
import torch

import build_results
import cases_bench
from cases import CASES
from records import read_records


@pytest.mark.parametrize("name", CASES)
def test_every_case_has_a_loss_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    case = CASES[name]
    model = case.make()
    loss = case.loss(model, case.draw(torch.Generator().manual_seed(0)))
    loss.backward()
    assert math.isfinite(loss.detach())
    trained = [param for param in model.parameters() if param.requires_grad]
    assert any(param.grad is not None and param.grad.any() for param in trained)
    assert all(param.grad is None or param.grad.isfinite().all() for param in trained)


def test_the_record_has_every_case_by_both_methods() -> None:
    record = read_records()["cases"]
    assert {(row.task, row.method) for row in record.rows} == {
        (name, method) for name in CASES for method in cases_bench.METHODS
    }
    assert record.measures == cases_bench.MEASURES


@pytest.mark.parametrize("method", cases_bench.METHODS)
def test_a_run_has_the_figures_that_are_promised(method: str) -> None:
    found = cases_bench.run(CASES["softmax regression"], cases_bench.METHODS[method], 0)
    assert found.keys() | {"placed"} == cases_bench.MEASURES.keys()
    assert found["trained"] == 650
    remembered = {"Adam": 0, "NFNOptimizer": 8 * (64 + 10) / 650}  # of each row and column
    assert found["state"] == pytest.approx(2 + remembered[method], abs=0.05)
    assert found["end"] < found["worst"]


def test_the_page_names_every_case() -> None:
    page = build_results.CASES.read_text()
    assert all(f"\n| {name} | " in page for name in CASES)
