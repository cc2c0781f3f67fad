"""Parameters of an optimizer: by name, and what is asked of all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..symmetry import Shape

BETAS = (0.9, 0.999)  # schedulers that cycle a momentum write them; nothing reads them
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
    """
    entries = [params] if isinstance(params, Tensor) else list(params)
    named: dict[str, Tensor] = {}
    for position, entry in enumerate(entries, start=len(taken)):
        name, param = entry if isinstance(entry, tuple) else (None, entry)
        if not isinstance(param, Tensor):
            raise TypeError(f"NFNOptimizer trains tensors; got {type(param).__name__}.")
        name = names.get(param) or name or str(position)
        is_used = name in taken or name in named  # two models whose parameters have the same names
        named[f"{name}#{position}" if is_used else name] = param
    return named


def names_in(model: nn.Module | None) -> dict[Tensor, str]:
    """Names of a model's parameters."""
    return {} if model is None else {p: n for n, p in model.named_parameters()}


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
    """

    name: str
    param: Tensor
    group: Mapping[str, Any]

    @cached_property
    def values(self) -> Tensor:
        """The parameter in real numbers, in the same memory."""
        return as_real(self.param)

    @cached_property
    def gradient(self) -> Tensor:
        """Of what is to become smaller; if not of the parameter's type, of its accumulators'."""
        assert self.param.grad is not None
        grad, dtype = as_real(self.param.grad.resolve_conj()), self.values.dtype
        if grad.dtype != dtype:
            grad = grad.to(torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype)
        return -grad if self.group["maximize"] else grad


def with_gradients(groups: Sequence[dict[str, Any]]) -> list[Entry]:
    """Parameters that have a gradient."""
    return [
        Entry(name, param, group)
        for group in groups
        for name, param in zip(group["param_names"], group["params"], strict=True)
        if param.grad is not None and (param.numel() or param.grad.numel())
    ]


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
    return {name: tuple(as_real(param.detach()).shape) for name, param in params.items()}


def all_usable(grads: list[Tensor]) -> bool:
    """Whether all gradients are finite and small enough to be squared and summed.

    One number a gradient, one transfer a device and type.
    """
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for grad in grads:
        alike.setdefault((grad.device, grad.dtype), []).append(grad)
    return all(_are_usable(found, dtype) for (_, dtype), found in alike.items())


def _are_usable(grads: list[Tensor], dtype: torch.dtype) -> bool:
    wide, limit = (torch.float64, 1e150) if dtype == torch.float64 else (torch.float32, 1e18)
    norms = torch.stack(torch._foreach_norm(grads, 2, wide))
    return bool((norms < limit).all())


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
                state[param][slot] = value.to(param.device, dtype, copy=True)


def update_norm(norms: Sequence[tuple[Tensor, Sequence[Any]]]) -> float:
    """Norm of an update, from those of parameters before the learning rates, and the rates."""
    pairs = (pair for found, rates in norms for pair in zip(found, rates, strict=True))
    return sum(float(norm * rate) ** 2 for norm, rate in pairs) ** 0.5
