"""Collections from modules, state dicts, and folders of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nfn_optim import NetworkSpec, SpecError

from ...support import Progress
from ...tasks import Params
from ._architecture import Like, spec_finder
from ._bad import BadNetwork, describe_bad, refuse
from ._collection import Collection
from ._find import as_state_dict, find_networks, short_name
from ._labels import Labels, Value, names_column, read_columns
from ._networks import Networks

Described = tuple[NetworkSpec, Params]


def from_modules(
    modules: Sequence[nn.Module] | Mapping[str, nn.Module],
    labels: Labels | None = None,
    *,
    skip_bad: bool = False,
) -> Collection:
    """Networks that are in memory, of any architectures that can be traced.

    Args:
        modules: In a list, with a row of labels each in the same order, or by name.
        labels: Columns by name, or the path of a CSV or Parquet file.
        skip_bad: Leaves out what cannot be used, instead of an error.

    Raises:
        ValueError: Naming the modules that cannot be traced, have no row or weights that are not
            finite, and the rows without a module; or if it is one module.
        FileNotFoundError: If there is no such table.
    """
    if isinstance(modules, nn.Module):
        raise ValueError(
            f"modules are one {type(modules).__name__}. Give a list of networks, or networks by "
            "name."
        )

    def describe(module: nn.Module) -> Described:
        try:
            spec = NetworkSpec.from_module(module)
        except SpecError as error:
            raise BadNetwork(f"cannot be traced: {str(error).rstrip('.')}") from error
        return spec, {name: param.detach() for name, param in module.named_parameters()}

    return _collect(modules, describe, labels, skip_bad, None)


def from_state_dicts(
    source: str | Path | Sequence[Params] | Mapping[str, Params],
    like: Like = None,
    labels: Labels | None = None,
    *,
    skip_bad: bool = False,
    on_progress: Progress | None = None,
) -> Collection:
    """Networks from files of any widths and depths, or from state dicts in memory.

    A folder is searched with all folders in it, for `.pt`, `.pth`, `.bin` and `.safetensors` files
    and for folders that hold `config.json` and `model.safetensors`, which are one network each. A
    table names a network by its path in the folder; endings may be left out.

    Main arguments:
        source: A folder, or state dicts in a list or by name.
        like: What they are like: a spec or a module, or a list where there are several kinds; or a
            function from the content of `config.json` to a module. Without, each must be a chain of
            layers whose order is certain, such as an MLP.
        labels: The path of a CSV or Parquet file, or columns by name. A column `network`, `name`,
            `file` or `path`, else the first, says which network a row is about; state dicts in a
            list have the rows in their order.

    Other arguments:
        skip_bad: Leaves out what cannot be used, instead of an error.
        on_progress: Called with how many are read, and how many there are.

    Raises:
        ValueError: Naming what cannot be used, and why: damaged files, state dicts with other
            names, shapes or types than expected, weights that are not finite, networks without a
            row and rows without a network.
        FileNotFoundError: If there is no such folder or table, or no network in the folder.
        SpecError: If a module of `like` cannot be traced.
    """
    spec_of = spec_finder(like)

    def no_config() -> dict[str, Any]:
        raise BadNetwork("has no config, as it is no file")

    if isinstance(source, str | Path):
        return _collect(
            find_networks(Path(source)),
            lambda file: _described(spec_of, file.read(), file.read_config),
            labels,
            skip_bad,
            on_progress,
        )
    return _collect(
        source,
        lambda content: _described(spec_of, as_state_dict(content), no_config),
        labels,
        skip_bad,
        on_progress,
    )


def _described(spec_of: Callable[..., NetworkSpec], params: Params, config: Any) -> Described:
    spec = spec_of(params, config)
    return spec, {name: params[name] for name in spec.names}


def _collect(
    source: Sequence[Any] | Mapping[str, Any],
    describe: Callable[[Any], Described],
    labels: Labels | None,
    skip_bad: bool,
    on_progress: Progress | None,
) -> Collection:
    """Matches rows and networks, then describes those that have both."""
    items = source if isinstance(source, Mapping) else {str(i): x for i, x in enumerate(source)}
    columns = {} if labels is None else read_columns(labels)
    rows: dict[str, int] = {}
    bad: dict[str, str] = {}
    if labels is not None:
        rows, bad = _match(columns, list(items), by_name=isinstance(source, Mapping))
    refuse(bad, len(items), skip_bad)
    found: dict[str, Described] = {}
    for done, (name, item) in enumerate(items.items(), 1):
        if name not in bad:
            try:
                found[name] = describe(item)
                _check_values(found[name][1])
            except BadNetwork as error:
                found.pop(name, None)
                bad[name] = str(error)
        if on_progress is not None:
            on_progress(done, len(items))
    bad |= _odd_types(found)
    refuse(bad, len(items), skip_bad)
    names = tuple(name for name in found if name not in bad)
    if not names:
        raise ValueError(describe_bad(bad, len(items)))
    return Collection(
        names,
        Networks.group([found[n][0] for n in names], [found[n][1] for n in names]),
        {key: tuple(column[rows[n]] for n in names) for key, column in columns.items()},
        bad,
    )


def _match(
    columns: Mapping[str, Sequence[Value]], names: Sequence[str], by_name: bool
) -> tuple[dict[str, int], dict[str, str]]:
    """The row of each network, and what is wrong with networks and rows."""
    if not columns:
        raise ValueError("labels have no columns. Give one at least.")
    column = columns[names_column(columns)]
    if not by_name:
        if len(column) != len(names):
            raise ValueError(
                f"there are {len(names)} networks and {len(column)} rows of labels. Give one each."
            )
        return {name: row for row, name in enumerate(names)}, {}
    rows: dict[str, int] = {}
    for row, value in enumerate(column):
        name = short_name(str(value))
        if name in rows:
            raise ValueError(f"labels have two rows for network {name!r}. Leave one out.")
        rows[name] = row
    bad = {name: "has no row in the labels" for name in names if name not in rows}
    known = set(names)
    return rows, bad | {
        n: "has a row in the labels, but no weights" for n in rows if n not in known
    }


def _check_values(params: Params) -> None:
    """Raises BadNetwork for numbers that nothing can be learned from."""
    for name, tensor in params.items():
        if not tensor.is_floating_point():
            raise BadNetwork(f"has {tensor.dtype} numbers in {name!r}; expected floating point")
        if not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise BadNetwork(f"has {count} numbers in {name!r} that are NaN or infinite")


def _odd_types(found: Mapping[str, Described]) -> dict[str, str]:
    """Networks of another type of numbers than most."""
    types = {n: {t.dtype for t in params.values()} for n, (_, params) in found.items()}
    if not types:
        return {}
    usual: torch.dtype = Counter(d for own in types.values() for d in own).most_common(1)[0][0]
    return {
        name: f"has numbers of the type {', '.join(map(str, own - {usual}))}; most have {usual}"
        for name, own in types.items()
        if own != {usual}
    }
