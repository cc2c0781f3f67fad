"""The command `nfn-optim suite`: the paper's tasks, with the paper's numbers beside ours."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ._console import figures, long_work, print_table, prose, use_threads, write_json

if TYPE_CHECKING:
    from ..suites import SuiteResult

_WIDTH = 80


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
    plain: bool = False,
    json: Path | None = None,
) -> None:
    """Runs one of the paper's tasks; `suite list` lists them.

    Args:
        name: Which suite, or `list`.
        data: The data set; the size's own without.
        method: Which methods; all that the size has without. `np` is the paper's network, `np+` is
            ours that goes beyond it.
        size: `tiny` is a smoke test of less than two minutes: it shows that everything works, and
            its figures are not to be compared. `small` takes about an hour with the paper's
            methods; `paper` is the paper's protocol, for a GPU. Some suites have more, which
            `suite list` names.
        seeds: Networks trained with every method; the size's own number without.
        device: Where networks are trained, as torch names it.
        threads: Intra-op threads; two take two thirds of the time of one where two cores are idle,
            and many times as long where another program keeps one busy: pass 1 there.
        out: Folder for pictures.
        plain: Print a line now and then instead of a picture that moves, in a terminal, too.
        json: Where to write the table's numbers, or the list.
    """
    from nfn_optim.cache import cache_folder

    from ..suites import run_suite
    from ..support import check_overwrite

    check_overwrite(json)
    if name == "list":
        found = _list()
        _print_list(found)
        write_json(json, found)
        return
    use_threads(threads)
    cache = cache_folder()
    files = f"{out} (picture), {cache} (data, finished networks)"
    kept = f"Data and finished networks are kept in {cache}."
    with long_work(files, kept=kept, plain=plain) as display:
        result = run_suite(
            name,
            methods=method or None,
            data=data,
            size=size,
            num_seeds=seeds,
            device=device,
            out=out,
            on_progress=display,
        )
    _print_result(result)
    if result.picture is not None:
        print(f"Picture: {result.picture}")
    write_json(json, result.to_json())


def _list() -> dict[str, dict[str, Any]]:
    """What there is, by the suite's name."""
    from ..suites import SUITES

    return {
        suite.name: {
            "summary": suite.summary,
            "data": list(suite.data),
            "sizes": list(suite.sizes),
            "methods": list(
                dict.fromkeys(name for size in suite.sizes.values() for name in suite.names(size))
            ),
        }
        for suite in SUITES.values()
    }


def _print_list(suites: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints suites so that no name is cut: all may have to be typed."""
    for name, entry in suites.items():
        print(name)
        print(_wrapped("", entry["summary"]))
        print(_wrapped("--data     ", ", ".join(entry["data"])))
        print(_wrapped("--size     ", ", ".join(entry["sizes"])))
        print(_wrapped("--method   ", ", ".join(entry["methods"])))


def _wrapped(label: str, text: str) -> str:
    start = f"    {label}"
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _print_result(result: SuiteResult) -> None:
    size = f"{result.size}, a smoke test" if result.is_smoke_test else result.size
    title = f"{result.suite} on {result.data}, {size}: {result.metric}"
    further = dict.fromkeys(name for reached in result.methods.values() for name in reached.more)
    heading = "paper" if result.size == "paper" else "paper, full size"
    paper = [] if result.is_smoke_test else [heading]
    table = figures(title, "method", "ours", *paper, *further, "parameters", "seconds")
    for name, reached in result.methods.items():
        spread = f" ± {reached.std:.2g}" if result.num_seeds > 1 and isfinite(reached.std) else ""
        beside = f"{result.paper[name]:.4g}" if name in result.paper else "-"
        table.add_row(
            name,
            f"{reached.metric:.4g}{spread}",
            *(beside for _ in paper),
            *(f"{reached.more[name]:.4g}" for name in further),
            f"{reached.parameters:,}",
            f"{reached.seconds:.1f}",
        )
    print_table(table)
    if result.is_smoke_test:
        prose(
            "This was a smoke test: it shows that everything works. Compare no figures of it, not "
            "with each other and not with the paper's. --size small is the least that can be."
        )
