"""What code runs and with which values, for caches that must notice when either changes."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, NoneType, SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (
    *(bool, int, float, complex, str, bytes, range, slice, NoneType, Enum),
    *(np.generic, torch.dtype, torch.device),
)
_CONSTANT = (*_PLAIN, tuple, list, dict)
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_LASTING = (FunctionType, nn.Module)


def source_of(module: nn.Module) -> str:
    """Source of a module's class, or its name where there is no source file."""
    try:
        return inspect.getsource(type(module))
    except (OSError, TypeError):  # defined in an interactive session
        return type(module).__qualname__


def bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's numbers as they are in memory; of any type, while numpy has no bfloat16."""
    held = tensor.detach().cpu()
    dense = held.to_dense() if held.is_sparse else held
    return dense.contiguous().flatten().view(torch.uint8).numpy().data


def describe(value: object, told: dict[int, int] | None = None) -> str:
    """Text that is the same for equal values in every process.

    Of a module it tells code, attributes and modules in it, but no weights. Of code it tells what
    that sees, too: outer variables, and constants and functions of the same file.

    Args:
        value: A number, text, tensor, array, function or module, or a container or dataclass of
            these; of anything else the type counts.
        told: By identity, values that it is part of, and those in common that were described.
    """
    if isinstance(value, _PLAIN):
        return repr(value)
    told = {} if told is None else told
    if id(value) in told:
        return f"again {told[id(value)]}"
    told[id(value)] = len(told)
    text = f"{_name(type(value))} {_name(value)} {_own_text(value)}"
    text += f"[{', '.join(describe(part, told) for part in _parts(value))}]"
    if not isinstance(value, _LASTING):  # another value may get the identity
        del told[id(value)]
    return text


def _own_text(value: object) -> str:
    if isinstance(value, Tensor):
        digest = "" if value.is_meta else hashlib.sha256(bytes_of(value)).hexdigest()
        return f"{value.dtype} {tuple(value.shape)} {value.requires_grad} {digest}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.tolist()}"
    if isinstance(value, (set, frozenset)):
        return f"{sorted(describe(each) for each in value)}"  # they have no order
    return ""


def _parts(value: object) -> Iterable[object]:
    """What a value is made of, where that is known."""
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, FunctionType):
        return [] if _is_torchs(value) else [value.__code__, *_seen_by(value)]
    if isinstance(value, nn.Module):
        return _parts_of_module(value)
    if isinstance(value, (MethodType, staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget, value.fset]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, CodeType):
        return [value.co_code, value.co_consts, value.co_names, value.co_varnames]
    if isinstance(value, SimpleNamespace):
        return [vars(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in fields(value)]
    return []


def _parts_of_module(module: nn.Module) -> list[object]:
    own = {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}
    if type(module).get_extra_state is not nn.Module.get_extra_state:
        own["extra state"] = module.get_extra_state()
    return [*_classes(type(module)), own, module._modules]


def _classes(kind: type) -> Iterator[object]:
    """What a class and those before torch's hold: functions and values."""
    for each in kind.__mro__:
        if not _is_torchs(each) and each.__module__ != "builtins":
            for name, value in vars(each).items():
                if isinstance(value, FunctionType) or not name.startswith("__"):
                    yield name, value


def _seen_by(function: FunctionType) -> list[object]:
    """Defaults, outer variables, and the constants and functions of the same file it names."""
    outer = [inner for cell in function.__closure__ or () for inner in _contents(cell)]
    named = {}
    for name in sorted(_names(function.__code__) & function.__globals__.keys()):
        value = function.__globals__[name]
        same_file = getattr(value, "__module__", None) == function.__module__
        if isinstance(value, _CONSTANT) or (isinstance(value, FunctionType) and same_file):
            named[name] = value
    return [function.__defaults__, function.__kwdefaults__, outer, named]


def _contents(cell: CellType) -> list[object]:
    try:
        return [cell.cell_contents]
    except ValueError:  # not assigned yet
        return []


def _names(code: CodeType) -> set[str]:
    """Names that code uses, with those in functions within it."""
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _is_torchs(value: type | FunctionType) -> bool:
    """Whether it comes with torch, whose version caches know."""
    return (value.__module__ or "").split(".")[0] == "torch"


def _name(value: object) -> str:
    qualname = getattr(value, "__qualname__", None)
    return f"{getattr(value, '__module__', '')}.{qualname}" if isinstance(qualname, str) else ""
