"""Rules for sizes that forward code computes with, and for tensors that it makes of them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ._context import Context
from ._value import NUMBER, Size, Sizes, Value

_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "neg": operator.neg,
}


def compute(name: str, args: tuple[Any, ...]) -> Any:
    """What an operator makes of numbers and sizes; None where there is something else."""
    if name not in _OPERATORS or not args:
        return None
    if name == "add" and any(isinstance(x, (Sizes, tuple)) for x in args):
        return tuple(y for x in args for y in (x if isinstance(x, tuple) else (x,)))
    if all(isinstance(x, (int, float)) for x in args):
        try:
            return _OPERATORS[name](*args)
        except (ArithmeticError, TypeError):
            return NUMBER
    if all(isinstance(x, (int, float, Size)) for x in args):
        return _of_size(name, args)
    return None


def _of_size(name: str, args: tuple[Any, ...]) -> Any:
    """A size times a number, or divided by one."""
    sizes = [x for x in args if isinstance(x, Size)]
    numbers = [x for x in args if isinstance(x, int) and x > 0]
    if len(sizes) == len(numbers) == 1:
        [size], [number] = sizes, numbers
        if name == "mul":
            return Size(size.is_batch, size.times * number)
        if name == "floordiv" and args[0] is size and size.times % number == 0:
            return Size(size.is_batch, size.times // number)
    return NUMBER


def made(ctx: Context, *sizes: Any, size: Any = None, **_: Any) -> Value:
    """`torch.zeros` and its like: a tensor without neurons, of so many axes."""
    given = size if size is not None else sizes
    if len(given) == 1 and isinstance(given[0], (tuple, Sizes)):
        given = given[0]
    return Value(rank=len(given)) if isinstance(given, tuple) else Value()


def equal(ctx: Context, *sizes: Any, **options: Any) -> Value:
    """`torch.zeros` and `torch.ones`: equal entries, which broadcast like a number."""
    return replace(made(ctx, *sizes, **options), shape=())


def full(ctx: Context, size: Any, *_: Any, **__: Any) -> Value:
    """`torch.full`."""
    return equal(ctx, size)


def arange(ctx: Context, *_: Any, **__: Any) -> Value:
    """`torch.arange` and its like: numbers in a row."""
    return Value(rank=1)


def triangle(ctx: Context, x: Value, *_: Any, **__: Any) -> Value:
    """`torch.tril` and `torch.triu`."""
    return ctx.without(x, (-1, -2), pin=True)
