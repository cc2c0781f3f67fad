"""What the commands that compare optimizers have in common: the run, the bar, the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..support import check_overwrite
from ._console import evaluation_progress, write_json

if TYPE_CHECKING:
    from ..evaluation import Contender, EvaluationTask


def find_peers(names: Sequence[str] | None, more: Sequence[str]) -> list[Contender]:
    """Contenders by name: all bundled ones without names, and more."""
    from ..evaluation import PEERS, find_contender

    first = PEERS if names is None else map(find_contender, names)
    return [*first, *map(find_contender, more)]


def compare(
    checkpoint: str,
    tasks: Sequence[EvaluationTask],
    peers: Sequence[Contender],
    *,
    num_seeds: int,
    told: bool,
    extensions: int | None,
    processes: int,
    cache: Path,
    page: Path,
    json: Path | None,
) -> None:
    """Runs `meta_train.evaluate` under a progress bar, prints its tables and writes its files."""
    from ..evaluation import EXTENSIONS, to_json, to_markdown, write_page
    from ..evaluation import evaluate as run

    check_overwrite(page, json)
    try:
        with evaluation_progress() as on_progress:
            evaluation = run(
                checkpoint,
                tasks,
                peers=peers,
                num_seeds=num_seeds,
                told=told,
                extensions=EXTENSIONS if extensions is None else extensions,
                cache=cache,
                processes=processes,
                on_progress=on_progress,
            )
    except KeyboardInterrupt:
        print(f"Finished runs are kept in {cache}: give the same command again to go on.")
        raise
    print(to_markdown(evaluation))
    content = to_json(evaluation)
    write_page(content, page)
    print(f"Page: {page}")
    write_json(json, content)
