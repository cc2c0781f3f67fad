"""Makes docs/api.md from the signatures and docstrings of all public names: `make api`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "api.md"
FACES = (
    "nfn_optim",
    *(f"nfn_optim.{name}" for name in ("layers", "networks", "rules", "testing")),
    "meta_train",
    *(f"meta_train.{name}" for name in ("tasks", "estimators", "evaluation", "suites")),
    *(f"meta_train.{name}" for name in ("zoo", "prediction")),
)
Called = (griffe.Class, griffe.Function)
_NO_BREAK = "\u00a0"
_HEAD = """# API

Every public name, under the module to import it from: how it is called, and the first line of its
docstring. `help(name)` has the whole docstring. A training script needs one of them,
[NFNOptimizer](#nfnoptimizer). The other modules are for those who build networks that read
networks, or meta-train an optimizer of their own.

This page is made by `make api`. What a module offers beside these names is for the packages
themselves and may change."""


def load_faces() -> list[griffe.Module]:
    """The public modules, read from their source without importing them."""
    loader = griffe.GriffeLoader(search_paths=[ROOT])
    for package in {face.partition(".")[0] for face in FACES}:
        loader.load(package)
    loader.resolve_aliases(implicit=True)
    return [loader.modules_collection[face] for face in FACES]


def public_names(face: griffe.Module) -> dict[str, griffe.Object]:
    """What the `__all__` of a module lists, in its order.

    Raises:
        ValueError: If the module has no `__all__`, or it lists what is not there.
    """
    if not face.exports:
        raise ValueError(f"{face.path} has no __all__. List its public names there.")
    names = [str(name) for name in face.exports]
    missing = [name for name in names if name not in face.members]
    if missing:
        raise ValueError(f"__all__ of {face.path} lists {', '.join(missing)}: there is none.")
    return {name: _target(face.members[name]) for name in names}


def _target(member: griffe.Object | griffe.Alias) -> griffe.Object:
    return member.final_target if isinstance(member, griffe.Alias) else member


def first_line(item: griffe.Object) -> str:
    """The summary of a docstring; nothing where there is none."""
    if item.docstring is None:
        return ""
    return " ".join(item.docstring.value.split("\n\n")[0].split())


def signature(item: griffe.Object, name: str) -> str:
    """How a class or function is called, in lines that break behind commas; else the name."""
    called = item.signature(name=name) if isinstance(item, Called) else ""
    text = called or name
    lines = textwrap.wrap(re.sub("(?<!,) ", _NO_BREAK, text), 100, subsequent_indent="    ")
    return "\n".join(lines).replace(_NO_BREAK, " ")


def methods_of(item: griffe.Object) -> Iterator[griffe.Function]:
    """Public methods that a class defines itself and documents."""
    if isinstance(item, griffe.Class):
        for name, member in item.members.items():
            if isinstance(member, griffe.Function) and not name.startswith("_"):
                yield member


def make_page() -> str:
    """The page as Markdown; a name stands in the first module that exports it."""
    seen: set[str] = set()
    parts = [_HEAD]
    for face in load_faces():
        new = {n: item for n, item in public_names(face).items() if item.path not in seen}
        seen |= {item.path for item in new.values()}
        parts += [f"## {face.path}", first_line(face)]
        parts += [part for name, item in sorted(new.items()) for part in _entry(name, item)]
    return "\n\n".join(parts) + "\n"


def _entry(name: str, item: griffe.Object) -> Iterator[str]:
    yield f"### {name}"
    yield f"```python\n{signature(item, name)}\n```"
    yield first_line(item)
    methods = [f"- `.{method.name}`: {first_line(method)}" for method in methods_of(item)]
    if methods:
        yield "\n".join(methods)


if __name__ == "__main__":
    PAGE.write_text(make_page())
