"""Cost of one optimizer step beside Adam's, in one process, interleaved.

    python tests/benchmarks/step_bench.py [--threads 2] [--repeats 20] [--compile]

Every optimizer steps after a forward and backward pass, as in training ("in training"), and then
again at once, when its state is still in cache ("alone"). Milliseconds are the best of the repeats,
since other load only ever adds time; on one thread they are processor time, which it adds least to.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfn_optim import NFNOptimizer, WeightSpaceFeatures
from nfn_optim.rules import ElementwiseRule

Step = Callable[[], object]


def mlp(*widths: int) -> nn.Sequential:
    layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def cnn() -> nn.Sequential:
    convs = [m for a, b in pairwise((3, 16, 32, 32)) for m in (nn.Conv2d(a, b, 3), nn.ReLU())]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


class Block(nn.Module):
    """Causal attention of four heads, then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.mlp = mlp(width, 4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.first(x)
        q, k, v = (
            layer(normed).unflatten(-1, (4, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.second(x))


def gpt() -> nn.Sequential:
    return nn.Sequential(
        nn.Embedding(65, 256), Block(256), Block(256), nn.LayerNorm(256), nn.Linear(256, 65)
    )


CASES: dict[str, tuple[Callable[[], nn.Sequential], Callable[[], Tensor]]] = {
    "MLP 784-128-10": (lambda: mlp(784, 128, 10), lambda: torch.randn(64, 784)),
    "CNN 16-32-32": (cnn, lambda: torch.randn(128, 3, 32, 32)),
    "MLP 784-1024-1024-10": (lambda: mlp(784, 1024, 1024, 10), lambda: torch.randn(64, 784)),
    "GPT of width 256": (gpt, lambda: torch.randint(65, (16, 64))),
}


def reference_layers(model: nn.Module, channels: int) -> Step:
    """Two NPLinear layers of the nfn package at our rule's width, forward only."""
    from nfn.common import WeightSpaceFeatures as Reference
    from nfn.common import network_spec_from_wsfeat
    from nfn.layers import NPLinear

    feats = WeightSpaceFeatures.from_modules([model])
    feats = feats.map(lambda t: t.detach().expand(*t.shape[:-1], 9))
    inputs = Reference(*(tuple(t.contiguous() for t in part) for part in feats.to_tuple()))
    spec = network_spec_from_wsfeat(inputs)
    first, second = NPLinear(spec, 9, channels), NPLinear(spec, channels, 2)

    @torch.no_grad()
    def run() -> object:
        hidden = first(inputs)
        active = ([t.relu() for t in part] for part in (hidden.weights, hidden.biases))
        return second(Reference(*active))

    return run


def optimizers(model: nn.Module, compiled: bool) -> dict[str, torch.optim.Optimizer]:
    """All on the same parameters; a rate of zero leaves them alone at the same cost."""
    params = list(model.parameters())
    result: dict[str, torch.optim.Optimizer] = {"Adam": torch.optim.Adam(params, 0.0, foreach=True)}
    native = NFNOptimizer(model, lr=0.0, fused=True)
    plain = NFNOptimizer(model, lr=0.0, fused=False)
    alone = ElementwiseRule(plain.rule.config).requires_grad_(False)
    elementwise = NFNOptimizer(model, checkpoint=alone, lr=0.0, fused=False)
    small = NFNOptimizer(model, checkpoint="small", lr=0.0, fused=True)
    result |= {"NFNOptimizer": native, "small": small}
    result |= {"fused=False": plain, "elementwise rule": elementwise}
    if compiled:
        result["fused=False, compiled"] = fast = NFNOptimizer(model, lr=0.0, fused=False)
        fast.rule.compile()
    return result


def iteration(model: nn.Module, inputs: Tensor) -> Callable[[], Tensor]:
    """Forward and backward on one batch with random labels."""
    labels = torch.randint(10, model(inputs).shape[:-1])

    def run() -> Tensor:
        model.zero_grad()
        loss = F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten())
        loss.backward()
        return loss

    return run


def seconds() -> float:
    """Wall-clock time, or processor time where one thread does all the work."""
    return time.perf_counter() if torch.get_num_threads() > 1 else time.thread_time()


def best(train: Step, steps: dict[str, Step], repeats: int) -> dict[tuple[str, str], float]:
    """Milliseconds of each step, in training and alone, and of the training pass; interleaved."""
    times: dict[tuple[str, str], float] = {}
    for repeat in range(-3, repeats):
        for name, step in steps.items():
            order = (("", "", train), (name, "in training", step), (name, "alone", step))
            for label, when, function in order:
                start = seconds()
                function()
                milliseconds = 1e3 * (seconds() - start)
                if repeat >= 0:
                    times[label, when] = min(times.get((label, when), milliseconds), milliseconds)
    return times


def bytes_per_parameter(optimizer: torch.optim.Optimizer) -> float:
    slots = [v for state in optimizer.state.values() for v in state.values()]
    return sum(v.numel() * v.element_size() for v in slots) / sum(
        p.numel() for p in optimizer.state
    )


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| network | optimizer | ms in training | x Adam | share | ms alone | x Adam | state B |")
    print("|---|---|---|---|---|---|---|---|")
    for label, (build, batch) in CASES.items():
        torch.manual_seed(0)
        model = build()
        train, all_of_them = iteration(model, batch()), optimizers(model, args.compile)
        steps: dict[str, Step] = {name: o.step for name, o in all_of_them.items()}
        if not any(isinstance(layer, Block) for layer in model):
            steps["nfn layers"] = reference_layers(model, NFNOptimizer(model).rule.config.hidden)
        times = best(train, steps, args.repeats)
        work = times["", ""]
        for name in steps:
            cells = []
            for when in ("in training", "alone"):
                ms = times[name, when]
                cells += [f"{ms:.2f}", f"{ms / times['Adam', when]:.1f}"]
            cells.insert(
                2, f"{times[name, 'in training'] / (times[name, 'in training'] + work):.0%}"
            )
            known = name in all_of_them
            cells.append(f"{bytes_per_parameter(all_of_them[name]):.1f}" if known else "")
            print("|", " | ".join((label, name, *cells)), "|", flush=True)
        print(f"| {label} | forward and backward | {work:.2f} | | | | | |")


if __name__ == "__main__":
    main()
