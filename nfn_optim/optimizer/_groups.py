"""Parameters of an optimizer: by name, and what is asked of all of them at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..rules.constants import UNCUT
from ..symmetry import Shape
from ._local import is_sharded, local, local_gradient
from ._shapes import check_gradient

BETAS = (0.9, 0.999)  # schedulers that cycle a momentum write them; nothing reads them
_ITERATORS = (nn.Module.parameters.__code__, nn.Module.named_parameters.__code__)
OLDER = {"lr_unit": None, "betas": BETAS}  # what groups of older states do not have


def by_name(
    params: Any, names: Mapping[Tensor, str], taken: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Parameters of a new group by name; unnamed ones get their position as name.

    Args:
        params: What a user gives as `params` of a group.
        names: Names that are known from the model.
        taken: Parameters that the optimizer has already.

    Raises:
        TypeError: If there is something else than tensors.
        ValueError: If a parameter has no shape yet.
    """
    entries = [params] if isinstance(params, Tensor) else list(params)
    named: dict[str, Tensor] = {}
    for position, entry in enumerate(entries, start=len(taken)):
        name, param = entry if isinstance(entry, tuple) else (None, entry)
        if not isinstance(param, Tensor):
            raise TypeError(f"NFNOptimizer trains tensors; got {type(param).__name__}.")
        name = names.get(param) or name or str(position)
        if isinstance(param, nn.parameter.UninitializedParameter):
            raise ValueError(
                f"parameter {name!r} has no shape yet, as those of lazy layers before the first "
                "call. Run the model once on a batch, then make the optimizer."
            )
        is_used = name in taken or name in named  # two models whose parameters have the same names
        named[f"{name}#{position}" if is_used else name] = param
    return named


def names_in(model: nn.Module | None) -> dict[Tensor, str]:
    """Names of a model's parameters."""
    return {} if model is None else {p: n for n, p in model.named_parameters()}


def model_of(params: Any) -> nn.Module | None:
    """The model whose `parameters()` or `named_parameters()` these are, filtered or not.

    A script that hands on what a model's iterator yields hands on the model, too: the iterator
    knows it. None for lists, groups, and iterators that are used up or are somebody else's.
    """
    while isinstance(params, filter):
        reduced: Any = params.__reduce__()  # (filter, (condition, iterator))
        params = reduced[1][1]
    if inspect.isgenerator(params) and params.gi_code in _ITERATORS:
        model: nn.Module | None = inspect.getgeneratorlocals(params).get("self")
        return model
    return None


def as_groups(
    params: Any, names: Mapping[Tensor, str]
) -> tuple[list[dict[str, Any]], dict[str, Shape]]:
    """What a user gives as parameters, as groups of named parameters; and the shapes of all.

    Args:
        params: Parameters, pairs of names and parameters, or groups.
        names: Names that are known from the model.

    Raises:
        TypeError: If there is something else than tensors.
    """
    if isinstance(params, Tensor):
        raise TypeError(
            "params argument given to the optimizer should be an iterable of Tensors or dicts; "
            "got one tensor. Put it into a list."
        )
    entries = list(params)
    is_grouped = bool(entries) and isinstance(entries[0], dict)
    groups, known = [], dict[str, Tensor]()
    for group in entries if is_grouped else [{"params": entries}]:
        named = by_name(group["params"], names, known)
        groups.append({**group, "params": list(named.items())})
        known |= named
    return groups if known or is_grouped else [], shapes_of(known)


@dataclass(frozen=True)
class Entry:
    """One parameter in a step.

    Attributes:
        name: The parameter's.
        param: The parameter, which has a gradient; its state stands under it.
        group: The options of its group.
        gradient: What is here of its gradient, in real numbers, downhill.
    """

    name: str
    param: Tensor
    group: Mapping[str, Any]
    gradient: Tensor

    @property
    def shape(self) -> Shape:
        """Of all of the parameter, in real numbers."""
        shape = tuple(self.param.shape)
        return (*shape, 2) if self.param.is_complex() else shape

    @property
    def values(self) -> Tensor:
        """What is here of the parameter, in real numbers, in the same memory."""
        return as_real(local(self.param))


def by_device(entries: Sequence[Entry]) -> dict[torch.device, list[Entry]]:
    """Parameters on each device, the CPU first: others take the rule's weights away from there."""
    found: dict[torch.device, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.param.device.type != "cpu"):
        found.setdefault(entry.param.device, []).append(entry)
    return found


def with_gradients(groups: Sequence[dict[str, Any]]) -> list[Entry]:
    """Parameters that have a gradient.

    Raises:
        RuntimeError: If a gradient is sparse.
        ValueError: If a gradient does not fit its parameter.
    """
    found = [
        (name, param, group)
        for group in groups
        for name, param in zip(group["param_names"], group["params"], strict=True)
        if param.grad is not None and (param.numel() or param.grad.numel())
    ]
    for name, param, _ in found:
        check_gradient(name, param)
    return [
        Entry(name, param, group, _gradient(param, group["maximize"]))
        for name, param, group in found
    ]


def _gradient(param: Tensor, maximize: bool) -> Tensor:
    """Of what is to become smaller; if not of the parameter's type, of its accumulators'."""
    grad = local_gradient(param)
    if not torch.compiler.is_compiling() and grad._is_zerotensor():
        grad = grad.clone()  # autograd's stand-in for zeros, which has no memory
    grad = as_real(grad.resolve_conj())
    dtype = param.dtype.to_real() if param.is_complex() else param.dtype
    if grad.dtype != dtype:
        grad = grad.to(torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype)
    return -grad if maximize else grad


def named_params(groups: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """All parameters by name."""
    return {
        name: param
        for group in groups
        for name, param in zip(group["param_names"], group["params"], strict=True)
    }


def as_real(tensor: Tensor) -> Tensor:
    """A tensor, of complex numbers a view as pairs of real ones `(*shape, 2)`, as in Adam."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def shapes_of(params: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Shapes by name, in real numbers."""
    return {n: (*p.shape, 2) if p.is_complex() else tuple(p.shape) for n, p in params.items()}


def all_usable(grads: list[Tensor]) -> bool:
    """Whether all gradients are finite and small enough to be squared and summed."""
    return all(map(bool, truths(grads)))


def truths(grads: list[Tensor]) -> list[Tensor]:
    """The same of the gradients of each device and type, as one number there."""
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for grad in grads:
        alike.setdefault((grad.device, grad.dtype), []).append(grad)
    return [_are_usable(found, dtype) for (_, dtype), found in alike.items()]


def _are_usable(grads: list[Tensor], dtype: torch.dtype) -> Tensor:
    wide, limit = (torch.float64, 1e150) if dtype == torch.float64 else (torch.float32, 1e18)
    norms = torch.stack(torch._foreach_norm(grads, 2, wide))
    return (norms < limit).all()


def restore_slots(
    groups: Sequence[dict[str, Any]],
    state: MutableMapping[Tensor, dict[str, Tensor]],
    saved: Mapping[str, Any],
    like: Callable[[str, Tensor], Mapping[str, Tensor]],
) -> None:
    """Takes saved slots over in the types of new ones; torch has cast them to the parameter's.

    Args:
        groups: The optimizer's own groups.
        state: What is written to.
        saved: The state that is loaded.
        like: Slots such as a parameter has.
    """
    for group, of in zip(groups, saved["param_groups"], strict=True):
        named = zip(of["params"], group["param_names"], group["params"], strict=True)
        for key, name, param in named:
            for slot, value in saved["state"].get(key, {}).items():
                dtype = like(name, param)[slot].dtype
                copy = value.to(param.device, dtype, copy=True)
                state[param][slot] = _cut_like(copy, None if slot in UNCUT else param)


def update_norm(norms: Sequence[tuple[Tensor, float]]) -> float:
    """Norm of an update, from each parameter's before the learning rate, and the rate."""
    return sum(float(norm * lr) ** 2 for norm, lr in norms) ** 0.5


def _cut_like(slot: Tensor, param: Tensor | None) -> Tensor:
    """A slot that is loaded, cut as its parameter is, or whole without one.

    It may have been whole, or cut otherwise.
    """
    if not is_sharded(slot) and (param is None or not is_sharded(param)):
        return slot
    from .sharded import like_shards  # a second to import, which others do not wait for

    return like_shards(slot, param)
