"""The command `nfn-optim suite`: the paper's tasks, with the paper's numbers beside ours."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich import progress
from rich.console import Console
from rich.table import Table

from ._console import progress_bars, write_json

if TYPE_CHECKING:
    from ..suites import SuiteResult


def suite(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SUITE")],
    /,
    *,
    data: str | None = None,
    method: tuple[str, ...] = (),
    size: str = "small",
    seeds: int | None = None,
    device: str = "cpu",
    threads: int = 2,
    out: Path = Path("out/suite"),
    json: Path | None = None,
) -> None:
    """Runs one of the paper's tasks; `suite list` lists them.

    Args:
        name: Which suite, or `list`.
        data: The data set; the size's own without.
        method: Which methods; all that the size has without. `np` is the paper's network, `np+` is
            ours that goes beyond it.
        size: `tiny` takes minutes, `small` about an hour with the paper's methods; `paper` is the
            paper's protocol, for a GPU.
        seeds: Networks trained with every method; the size's own number without.
        device: Where networks are trained, as torch names it.
        threads: Intra-op threads; two take two thirds of the time of one where two cores are idle,
            and many times as long where another program keeps one busy: pass 1 there.
        out: Folder for pictures.
        json: Where to write the table's numbers.
    """
    import torch

    from ..suites import run_suite
    from ..support import check_overwrite

    if name == "list":
        _print_list()
        return
    if threads < 1:
        raise ValueError(f"--threads must be at least 1; got {threads}.")
    check_overwrite(json)
    torch.set_num_threads(threads)
    with progress_bars() as bars:
        rows: dict[str, progress.TaskID] = {}

        def on_progress(label: str, done: int, total: int) -> None:
            if label not in rows:
                rows[label] = bars.add_task(label, total=total)
            bars.update(rows[label], completed=done, total=total)

        result = run_suite(
            name,
            methods=method or None,
            data=data,
            size=size,
            num_seeds=seeds,
            device=device,
            out=out,
            on_progress=on_progress,
        )
    _print_result(result)
    if result.picture is not None:
        print(f"Picture: {result.picture}")
    write_json(json, result.to_json())


def _print_list() -> None:
    from ..suites import SUITES

    table = Table("suite", "what it does", "data", "methods")
    for entry in SUITES.values():
        names = dict.fromkeys(name for size in entry.sizes.values() for name in entry.names(size))
        table.add_row(entry.name, entry.summary, ", ".join(entry.data), ", ".join(names))
    Console().print(table)


def _print_result(result: SuiteResult) -> None:
    title = f"{result.suite} on {result.data}, {result.size}: {result.metric}"
    further = dict.fromkeys(name for reached in result.methods.values() for name in reached.more)
    paper = "paper" if result.size == "paper" else "paper, full size"
    table = Table("method", "ours", paper, *further, "parameters", "seconds", title=title)
    for name, reached in result.methods.items():
        spread = f" ± {reached.std:.2g}" if result.num_seeds > 1 and isfinite(reached.std) else ""
        table.add_row(
            name,
            f"{reached.metric:.4g}{spread}",
            f"{result.paper[name]:.4g}" if name in result.paper else "-",
            *(f"{reached.more[name]:.4g}" for name in further),
            f"{reached.parameters:,}",
            f"{reached.seconds:.1f}",
        )
    Console().print(table)
