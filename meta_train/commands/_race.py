"""The command `nfn-optim race`: the user's own model and data, under all contenders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from ._compare import compare, find_peers


def race(
    problem: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODULE:FUNCTION")],
    /,
    *,
    checkpoint: str = "default",
    steps: int = 300,
    peers: tuple[str, ...] | None = None,
    peer: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    seeds: int = 1,
    told: bool = False,
    processes: int = 2,
    out: Path = Path("out/race"),
    plain: bool = False,
    json: Path | None = None,
) -> None:
    """Trains your own model with the learned optimizer and with tuned and untuned peers.

    Args:
        problem: `module:function`, a function without arguments that returns `(model, batches,
            loss)`: the module, an iterable of batches, and `loss(model, batch)`, a scalar. It is
            called anew for every run, under a seed. The module is looked for where you are.
        checkpoint: A file written by `train`, a name (`default`, `small`, `untrained`), or
            `hf://owner/name` on the Hugging Face Hub.
        steps: Training steps of each run.
        peers: What to compare with: adamw, muon, schedule-free, soap, prodigy, sgd or adam, tuned
            for your model, or one of them at a rate, such as adamw@0.001. All without.
        peer: One more; also `module:factory`, a function from a module to an optimizer.
        seeds: Networks trained with the settings that tuning finds.
        told: Tell the learned optimizer the number of steps (`num_steps=`).
        processes: Runs at the same time, one thread each.
        out: Folder for the page, its pictures, and the cache of finished runs.
        plain: Print a line now and then instead of a picture that moves, in a terminal, too.
        json: Where to write all numbers.
    """
    from ..evaluation import users_task

    if steps < 1:
        raise ValueError(f"--steps must be at least 1; got {steps}.")
    compare(
        checkpoint,
        [users_task(problem, steps)],
        find_peers(peers, peer),
        num_seeds=seeds,
        told=told,
        extensions=None,
        processes=processes,
        cache=out / "cache",
        page=out / "page.md",
        plain=plain,
        json=json,
    )
