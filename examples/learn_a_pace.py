"""How was the default's pace learned? Evolution strategies on whole runs, beside no learning."""

import argparse
import math
import time

import numpy as np
import torch

from meta_train.evaluation import EvaluationTask
from meta_train.tasks import Task, broad_family
from nfn_optim import NFNOptimizer, NFNRule, load_rule, save_rule

# Columns of the pace's weight: agreement and its lack, faded gradients, edge layers, fan-in.
AGREES, DISAGREES, LEFT, IS_EDGE, FAN_IN = -2, -1, -3, -6, -7
SIZE, RECENCY = 0, 1  # rows
# What is learned, the size of its perturbations, and where it starts, which is set by hand.
LEARNED = {(row, column): (0.5, 2.0) for row in (SIZE, RECENCY) for column in (AGREES, DISAGREES)}
LEARNED |= {(SIZE, LEFT): (0.06, 0.0), (RECENCY, LEFT): (0.06, 0.0)}
LEARNED |= {(SIZE, IS_EDGE): (0.08, 0.0), (SIZE, FAN_IN): (0.05, 0.0)}
STD, START = np.array(list(LEARNED.values())).T


def rule_of(numbers: np.ndarray) -> NFNRule:
    """The untrained rule with these numbers added."""
    rule = load_rule("untrained").requires_grad_(False)
    for place, number in zip(LEARNED, numbers, strict=True):
        rule.schedule.weight[place] += float(number)
    return rule


def log_end(task: Task, rule: NFNRule, seed: int, steps: int) -> float:
    """Log of the mean loss of the last tenth of a run, at least a thousandth of the first loss."""
    problem = EvaluationTask.from_task("task", lambda: task).start(seed)
    optimizer, losses = NFNOptimizer(problem.model, checkpoint=rule, spec=task.spec), []
    for _, batch in zip(range(steps), problem.batches, strict=False):
        optimizer.zero_grad()
        loss = problem.loss(problem.model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    end, least = float(np.mean(losses[-max(1, steps // 10) :])), max(1e-3 * abs(losses[0]), 1e-9)
    return math.log(max(end, least) if math.isfinite(end) else 1e6 * least)


def worth(difference: float) -> float:
    """Of log end losses less those without learning: most tasks count, and large gains do."""
    return float(np.clip(difference, -0.3, 0.3) / 0.3 + np.tanh(difference / 0.03))


def main() -> None:
    """Learns, and saves what was reached after every outer step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--out", default="pace.safetensors")
    parser.add_argument("--smoke", action="store_true", help="one pair of short runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    random, begun, numbers = np.random.default_rng(0), time.monotonic(), START.copy()
    outer = torch.optim.Adam([torch.zeros(len(numbers))], lr=0.25, betas=(0.8, 0.95), eps=0.3)
    (moved,) = outer.param_groups[0]["params"]  # in standard deviations of the perturbations
    while args.smoke or time.monotonic() - begun < 60 * args.minutes:
        slope, seen = np.zeros(len(numbers)), []
        for _ in range(1 if args.smoke else 6):
            seed = int(random.integers(2**31))
            task = broad_family.sample(torch.Generator().manual_seed(seed))
            steps = 20 if args.smoke else int(100 * 6 ** random.random())
            noise = random.standard_normal(len(numbers))
            without = log_end(task, load_rule("untrained"), seed, steps)
            for sign in (1, -1):
                gained = log_end(task, rule_of(numbers + sign * STD * noise), seed, steps) - without
                slope += sign * worth(gained) / 12 * noise
                seen.append(gained)
        moved.grad = torch.tensor(slope, dtype=torch.float32)
        outer.step()
        numbers = START + STD * moved.numpy()
        print(f"end loss over that without learning, median of {len(seen)} runs around:")
        print(f"  {math.exp(float(np.median(seen))):.3f}")
        print("numbers:", " ".join(f"{number:.2f}" for number in numbers), flush=True)
        save_rule(rule_of(numbers), args.out, {"family": "broad_family"})
        if args.smoke:
            return


if __name__ == "__main__":
    main()
