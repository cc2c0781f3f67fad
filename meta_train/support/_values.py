"""Values as text that is the same in every process."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cached_property, partial
from pathlib import Path
from types import CellType, FunctionType, MethodType, NoneType, SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (
    *(bool, int, float, complex, str, bytes, range, slice, NoneType, Enum),
    *(np.generic, torch.dtype, torch.device),
)
_PACKAGES = ("nfn_optim", "meta_train")
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_LASTING = (FunctionType, nn.Module)


def bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's numbers as they are in memory; of any type, while numpy has no bfloat16."""
    held = tensor.detach().cpu()
    dense = held.to_dense() if held.is_sparse else held
    return dense.contiguous().flatten().view(torch.uint8).numpy().data


def is_ours(module: str) -> bool:
    """Whether a module is of these packages or of the user; libraries count by their names."""
    top = module.split(".")[0]
    if top in _PACKAGES:
        return True
    if top in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return not {"site-packages", "dist-packages"} & set(Path(file).parts)


def describe(value: object, told: dict[int, int] | None = None) -> str:
    """Text that is the same for equal values in every process.

    Of a function it tells its name and what is bound to it, of a module its attributes and the
    modules in it, but no weights. Code is not told; see `code_of`.

    Args:
        value: A number, text, tensor, array, function or module, or a container or object of
            these; of anything else the type counts.
        told: By identity, values that it is part of, and those in common that were described.
    """
    if isinstance(value, PLAIN):
        return repr(value)
    told = {} if told is None else told
    if id(value) in told:
        return f"again {told[id(value)]}"
    told[id(value)] = len(told)
    text = f"{_name(type(value))} {_name(value)} {_own_text(value)}"
    text += f"[{', '.join(describe(part, told) for part in parts(value))}]"
    if not isinstance(value, _LASTING):  # another value may get the identity
        del told[id(value)]
    return text


def parts(value: object) -> Iterable[object]:
    """What a value is made of, where that is known."""
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, FunctionType):
        return bound_to(value) if is_ours(value.__module__ or "") else []
    if isinstance(value, nn.Module):
        return [_attributes_of_module(value), value._modules]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget, value.fset]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in fields(value)]
    return [*_items(value), *_attributes(value)]


def bound_to(function: FunctionType) -> list[object]:
    """Defaults of a function, and the outer variables that it uses."""
    outer = [inner for cell in function.__closure__ or () for inner in _contents(cell)]
    return [function.__defaults__, function.__kwdefaults__, *outer]


def _own_text(value: object) -> str:
    if isinstance(value, Tensor):
        digest = "" if value.is_meta else hashlib.sha256(bytes_of(value)).hexdigest()
        return f"{value.dtype} {tuple(value.shape)} {value.requires_grad} {digest}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.tolist()}"
    if isinstance(value, (set, frozenset)):
        return f"{sorted(describe(each) for each in value)}"  # they have no order
    return ""


def _items(value: object) -> Iterable[object]:
    return value.items() if isinstance(value, Mapping) else []


def _attributes(value: object) -> Iterable[object]:
    """An object's attributes, where its class is not a library's; no results that it keeps."""
    kind = type(value)
    known = kind is SimpleNamespace or is_ours(kind.__module__)
    if isinstance(value, type) or not known or not hasattr(value, "__dict__"):
        return []
    kept = {
        name
        for each in kind.__mro__
        for name, member in vars(each).items()
        if isinstance(member, cached_property)
    }
    return [pair for pair in vars(value).items() if pair[0] not in kept]


def _attributes_of_module(module: nn.Module) -> dict[str, object]:
    own = {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}
    if type(module).get_extra_state is not nn.Module.get_extra_state:
        own["extra state"] = module.get_extra_state()
    return own


def _contents(cell: CellType) -> list[object]:
    try:
        return [cell.cell_contents]
    except ValueError:  # not assigned yet
        return []


def _name(value: object) -> str:
    qualname = getattr(value, "__qualname__", None)
    return f"{getattr(value, '__module__', '')}.{qualname}" if isinstance(qualname, str) else ""
