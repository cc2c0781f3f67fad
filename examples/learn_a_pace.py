"""How was the default's pace learned? Evolution strategies on whole runs, beside no learning."""

import argparse
import math
import time

import numpy as np
import torch

from meta_train.evaluation import EvaluationTask
from meta_train.tasks import Task, broad_family
from nfn_optim import NFNOptimizer, NFNRule, load_rule, save_rule
from nfn_optim.rules import constants

# Columns of the schedule's weight: what the pace reads of a parameter.
FAN_IN, IS_EDGE = constants.SCHEDULE_CHANNELS - 2, constants.SCHEDULE_CHANNELS - 1
LEFT = constants.SCHEDULE_CHANNELS + constants.WIDE_TRENDS
AGREES, DISAGREES = LEFT + 1, LEFT + 2
SIZE, RECENCY, BIAS = 0, 1, None  # rows, and in place of a column

# What is learned, the standard deviation of its perturbations, and where it starts: set by hand so
# that steps grow while gradients agree with where they lead, and shrink while they do not.
LEARNED: dict[tuple[int, int | None], tuple[float, float]] = {
    (SIZE, AGREES): (0.5, 2.0),
    (SIZE, DISAGREES): (0.5, 2.0),
    (RECENCY, AGREES): (0.5, 2.0),
    (RECENCY, DISAGREES): (0.5, 2.0),
    (SIZE, LEFT): (0.06, 0.0),
    (RECENCY, LEFT): (0.06, 0.0),
    (SIZE, IS_EDGE): (0.08, 0.0),
    (SIZE, FAN_IN): (0.05, 0.0),
    (RECENCY, BIAS): (0.1, 0.0),
}
STD, START = np.array(list(LEARNED.values())).T
PAIRS, RATE, FORGET, FORGET_SQUARE = 6, 0.25, 0.8, 0.95
SLOWEST, LONGEST = 0.03, 4.0  # seconds a step, and a run


def rule_of(numbers: np.ndarray) -> NFNRule:
    """The untrained rule with these numbers added."""
    rule = load_rule("untrained").requires_grad_(False)
    for (row, column), number in zip(LEARNED, numbers, strict=True):
        schedule = rule.schedule
        place = schedule.bias[row] if column is BIAS else schedule.weight[row, column]
        place += float(number)
    return rule


def log_end(task: Task, rule: NFNRule, seed: int, steps: int) -> float:
    """Log of the mean loss of the last tenth of a run, at least a thousandth of the first loss."""
    problem = EvaluationTask.from_task("task", lambda: task).start(seed)
    optimizer = NFNOptimizer(problem.model, checkpoint=rule)
    losses = []
    for _, batch in zip(range(steps), problem.batches, strict=False):
        optimizer.zero_grad()
        loss = problem.loss(problem.model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    end, least = float(np.mean(losses[-(steps // 10) :])), max(1e-3 * abs(losses[0]), 1e-9)
    return math.log(max(end, least)) if math.isfinite(end) else math.log(1e6 * least)


def worth(differences: np.ndarray) -> np.ndarray:
    """Of log end losses less those without learning: the median task counts, and large gains do."""
    return np.clip(differences, -0.3, 0.3) / 0.3 + np.tanh(differences / 0.03)


def draw(random: np.random.Generator) -> tuple[Task, int, int]:
    """A task whose steps are quick, a seed, and the steps of its runs."""
    while True:
        seed = int(random.integers(2**31))
        task = broad_family.sample(torch.Generator().manual_seed(seed))
        start = time.perf_counter()
        log_end(task, load_rule("untrained"), seed, 10)
        pause = (time.perf_counter() - start) / 10
        if pause < SLOWEST:
            steps = math.exp(random.uniform(math.log(100), math.log(600)))
            return task, seed, int(min(steps, max(100, LONGEST / pause)))


def main() -> None:
    """Learns, and saves what was reached after every step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="pace.safetensors")
    parser.add_argument("--smoke", action="store_true", help="one pair of short runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    random, begun, pairs = np.random.default_rng(args.seed), time.monotonic(), 0
    numbers = START.copy()
    mean, square = np.zeros_like(numbers), np.zeros_like(numbers)
    for step in range(1, 10**6):
        slope = np.zeros_like(numbers)
        seen: list[float] = []
        for _ in range(1 if args.smoke else PAIRS):
            task, seed, steps = draw(random)
            steps = 20 if args.smoke else steps
            noise = random.standard_normal(len(numbers))
            both = [rule_of(numbers + sign * STD * noise) for sign in (1, -1)]
            without = log_end(task, load_rule("untrained"), seed, steps)
            gained = np.array([log_end(task, rule, seed, steps) - without for rule in both])
            slope += (worth(gained)[0] - worth(gained)[1]) / 2 * noise
            seen.extend(gained)
            pairs += 1
        mean = FORGET * mean + (1 - FORGET) * slope / PAIRS
        square = FORGET_SQUARE * square + (1 - FORGET_SQUARE) * (slope / PAIRS) ** 2
        unbiased = mean / (1 - FORGET**step), square / (1 - FORGET_SQUARE**step)
        numbers = numbers - RATE * STD * unbiased[0] / (np.sqrt(unbiased[1]) + 0.3)
        ratio = math.exp(float(np.median(seen)))
        print(f"step {step}: end loss {ratio:.3f} of that without learning, median of {len(seen)}")
        print("  " + " ".join(f"{number:.2f}" for number in numbers), flush=True)
        card = {"family": "broad_family", "pairs": pairs, "seed": args.seed}
        save_rule(rule_of(numbers), args.out, card)
        if args.smoke or time.monotonic() - begun > 60 * args.minutes:
            break


if __name__ == "__main__":
    main()
