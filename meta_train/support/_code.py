"""The code that values can run: functions and classes, and those that these name in turn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TypeAlias

from ._values import PLAIN, bound_to, describe, is_ours, parts

_Space: TypeAlias = "type | ModuleType"
_ROOT = str(Path(__file__).parents[2])


def code_of(*values: object) -> list[str]:
    """Texts of all code that values can run, sorted: the same in every process.

    What a function names is followed through the files of these packages and of the user; torch
    and other libraries are not read. A member of a class or module counts once any code that was
    found names it, or where it replaces a library's, as `forward` of a module does. Docstrings,
    comments and what nothing names do not count. C++ files count where Python code beside them
    does.
    """
    search = _Search()
    search.run(values)
    return sorted(search.texts)


class _Search:
    """What `code_of` has found so far."""

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self._names: set[str] = set()
        self._spaces: list[_Space] = []
        self._members: set[tuple[int, str]] = set()
        self._seen: dict[int, object] = {}  # by identity; kept, so that none is given twice

    def run(self, values: Iterable[object]) -> None:
        """Visits values and all that is named, until nothing new is found."""
        waiting = list(values)
        while waiting:
            while waiting:
                waiting += self._visit(waiting.pop())
            waiting = [member for space in self._spaces for member in self._named_in(space)]

    def _visit(self, value: object) -> Iterable[object]:
        """What is to be visited next."""
        if isinstance(value, PLAIN) or id(value) in self._seen:
            return []
        self._seen[id(value)] = value
        if isinstance(value, FunctionType):
            return self._visit_function(value)
        if isinstance(value, type | ModuleType):
            return self._visit_space(value)
        hidden = getattr(value, "__wrapped__", None)  # by lru_cache and the like
        inner = value.func if isinstance(value, cached_property) else None
        return [type(value), hidden, inner, *parts(value)]

    def _visit_function(self, function: FunctionType) -> Iterable[object]:
        module = function.__globals__.get("__name__", "")
        if is_ours(module):
            code, bound = function.__code__, bound_to(function)
            text = f"{_text(code, function.__doc__)} {describe(bound)}"
            self.texts.add(f"{module}.{function.__qualname__} {text}")
            self.texts |= _native_code_beside(function.__globals__.get("__file__"))
            names = _names(code)
            self._names |= names
            yield from bound
            for name in names & function.__globals__.keys():
                yield from self._look_up(module, name, function.__globals__[name])
        yield getattr(function, "__wrapped__", None)

    def _visit_space(self, space: _Space) -> Iterable[object]:
        is_type = isinstance(space, type)
        if not is_ours(space.__module__ if is_type else space.__name__):
            return []
        self._spaces.append(space)
        ancestors = space.__mro__ if is_type else ()
        self.texts.add(f"{_name_of(space)} {[_name_of(each) for each in ancestors]}")
        return ancestors

    def _named_in(self, space: _Space) -> Iterator[object]:
        """Members of a class or module that code names, and those that Python or a base calls."""
        bases = [base for base in getattr(space, "__mro__", ()) if not is_ours(base.__module__)]
        for name, member in list(vars(space).items()):
            called = isinstance(member, FunctionType) and any(hasattr(b, name) for b in bases)
            if (called or name in self._names) and (id(space), name) not in self._members:
                self._members.add((id(space), name))
                yield from self._look_up(_name_of(space), name, member)

    def _look_up(self, where: str, name: str, value: object) -> Iterable[object]:
        """A value under a name; what is no code counts as it is, wherever it is installed."""
        if not isinstance(value, FunctionType | type | ModuleType):
            self.texts.add(f"{where}.{name} = {describe(value)}".replace(_ROOT, ""))
        return [value]


def _name_of(space: _Space) -> str:
    if isinstance(space, type):
        return f"{space.__module__}.{space.__qualname__}"
    return space.__name__


def _text(code: CodeType, docstring: str | None = None) -> str:
    constants = [
        _text(constant) if isinstance(constant, CodeType) else describe(constant)
        for index, constant in enumerate(code.co_consts)
        if index or docstring is None or constant != docstring
    ]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _names(code: CodeType) -> set[str]:
    """Names that code uses, with those in functions within it."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


@lru_cache(maxsize=256)
def _native_code_beside(file: str | None) -> frozenset[str]:
    """Hashes of the C++ files in a file's folder."""
    if file is None:
        return frozenset()
    folder = Path(file).parent
    sources = (*folder.glob("*.cpp"), *folder.glob("*.h"))
    return frozenset(
        f"{source.name} {hashlib.sha256(source.read_bytes()).hexdigest()}" for source in sources
    )
