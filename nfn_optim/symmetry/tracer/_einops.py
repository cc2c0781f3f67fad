"""The rule for `rearrange` and `repeat` of einops: axes split, put in another order, and merged."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from . import _axes, _shapes
from ._context import Context
from ._value import Value

_AXES = re.compile(r"\(([^()]*)\)|(\w+)")  # several in parentheses, or one


def rearrange(ctx: Context, x: Value, pattern: object, **sizes: Any) -> Value:
    """`rearrange` and `repeat`: names that are new on the right are copies."""
    parts = pattern.split("->") if isinstance(pattern, str) else []
    if len(parts) != 2 or "..." in str(pattern):
        return ctx.unknown("einops", x)
    old, new = (_axes_of(part) for part in parts)
    x = replace(x, rank=len(old)) if x.rank is None else x
    if x.rank != len(old):
        return ctx.unknown("einops", x)
    x = _split(ctx, x, old, sizes)
    names = [name for group in old for name in group]
    kept = [name for group in new for name in group]
    for name in [name for name in names if name not in kept]:
        x = _axes.squeeze(ctx, x, names.index(name) - len(names))
        names.remove(name)
    for name in [name for name in kept if name not in names]:
        x = _axes.unsqueeze(ctx, x, 0)
        x = x if name.startswith("1") else replace(x, ones=x.ones - {-1 - len(names)})
        names.insert(0, name)
    x = _axes.permute(ctx, x, [names.index(name) for name in kept])
    at = 0
    for group in reversed(new):
        if len(group) > 1:
            x = _shapes.flatten(ctx, x, at - len(group), at - 1)
        at -= 1
    return x


def _split(ctx: Context, x: Value, groups: list[list[str]], sizes: dict[str, Any]) -> Value:
    """Every name with an axis of its own."""
    at = 0
    for group in reversed(groups):
        if len(group) > 1:
            given = [sizes.get(name, -1) for name in group]
            x = _shapes.unflatten(ctx, x, at - 1, given)
        at -= len(group)
    return x


def _axes_of(part: str) -> list[list[str]]:
    """Names of each axis; those of size one get different ones."""
    found = [match[0].split() or [match[1]] for match in _AXES.findall(part)]
    count = iter(range(len(part)))
    return [[f"1{next(count)}" if n == "1" else n for n in group if n] for group in found]
