"""How many inner steps a second the unroll takes, and a plain loop over the tasks with `higher`.

Both differentiate the meta-loss of 20 inner steps of an MLP 64-32-10, forward and backward, with
the same rule, networks and batches, in one run, side by side. Seconds are those of the processor,
on one thread, so that waiting for other work does not count:

    make bench  # or: python -m pytest tests/benchmarks/test_unroll_bench.py -s
"""

import gc
import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from meta_train import unroll
from meta_train.tasks import Batch, ModuleTask, Params, load_data, mlp, stack
from nfn_optim import NFNRule

pytest.importorskip("higher", reason="higher is an optional extra")

from meta_train.higher._register import unroll_higher

STEPS, REPEATS, SIZES = 20, 8, (1, 4, 16, 64)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # the fastest for networks this small


def make_task() -> ModuleTask:
    digits = load_data("digits")
    data = digits.x_train.flatten(1), digits.y_train
    return ModuleTask(lambda: mlp((64, 32, 10)), F.cross_entropy, data, batch_size=64)


def make_rule() -> NFNRule:
    torch.manual_seed(0)
    rule = NFNRule()
    for weight in rule.write.parameters():
        torch.nn.init.normal_(weight, std=0.01)
    return rule


def start(task: ModuleTask, networks: int) -> tuple[Params, list[Batch]]:
    generators = [torch.Generator().manual_seed(seed) for seed in range(networks)]
    params = stack([task.init(g) for g in generators])
    return params, [stack([task.batch(g) for g in generators]) for _ in range(STEPS)]


def backward(rule: NFNRule, losses: Tensor) -> list[Tensor]:
    theta = list(rule.parameters())
    loss = losses[1:].log().mean()
    return list(torch.autograd.grad(loss, theta, allow_unused=True, materialize_grads=True))


def engine(networks: int, *, first_order: bool) -> Callable[[], list[Tensor]]:
    task, rule = make_task(), make_rule()
    params, batches = start(task, networks)

    def run() -> list[Tensor]:
        state = rule.init(params, task.spec)
        out = unroll(rule, task.loss, params, batches, state, first_order=first_order)
        return backward(rule, out.losses)

    return run


def higher_loop(networks: int) -> Callable[[], list[Tensor]]:
    task, rule = make_task(), make_rule()
    params, batches = start(task, networks)
    return lambda: backward(rule, unroll_higher(rule, task, params, batches))


def best_seconds(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Processor's seconds of the fastest repeat; they take turns, so that load slows all alike."""
    best = dict.fromkeys(runs, float("inf"))
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            gc.collect()
            begin = time.process_time()
            run()
            if repeat:  # the first one warms up
                best[name] = min(best[name], time.process_time() - begin)
    return best


def test_engine_against_higher() -> None:
    networks = 8
    runs = {
        "higher, one task after another": higher_loop(networks),
        "unroll": engine(networks, first_order=False),
        "unroll, first order (default)": engine(networks, first_order=True),
    }
    first, second = runs["higher, one task after another"](), runs["unroll"]()
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    seconds = best_seconds(runs, REPEATS)
    slowest = max(seconds.values())
    print(f"\n{networks} tasks, {STEPS} steps forward and backward")
    for name, value in seconds.items():
        rate = networks * STEPS / value
        print(f"{name:<34}{value:8.3f} s{rate:9.0f} inner steps/s{slowest / value:7.1f}x")
    assert seconds["unroll, first order (default)"] < seconds["higher, one task after another"]


def test_growth_with_tasks() -> None:
    runs = {str(n): engine(n, first_order=True) for n in SIZES}
    seconds = best_seconds(runs, 3)
    print(f"\n{'tasks':>6}{'seconds':>10}{'inner steps/s':>15}")
    for name, value in seconds.items():
        print(f"{name:>6}{value:>10.3f}{int(name) * STEPS / value:>15.0f}")
    assert seconds["16"] < 16 * seconds["1"]
