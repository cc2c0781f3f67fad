"""What the commands that compare optimizers have in common: the run, the display, the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..support import check_overwrite
from ._console import long_work, write_json

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
    plain: bool,
    json: Path | None,
) -> None:
    """Runs `meta_train.evaluate`, shows it, prints what it found and writes its files."""
    from ..evaluation import EXTENSIONS, to_json, write_page
    from ..evaluation import evaluate as run
    from ._evaluation_tables import print_evaluation

    check_overwrite(page, json)
    files, kept = f"{page}, {cache}", f"Finished runs are kept in {cache}."
    with long_work(files, kept=kept, plain=plain) as display:
        evaluation = run(
            checkpoint,
            tasks,
            peers=peers,
            num_seeds=num_seeds,
            told=told,
            extensions=EXTENSIONS if extensions is None else extensions,
            cache=cache,
            processes=processes,
            on_progress=display,
        )
    print_evaluation(evaluation)
    content = to_json(evaluation)
    write_page(content, page)
    print(f"All figures and pictures: {page}")
    write_json(json, content)
