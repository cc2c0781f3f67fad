"""Weights that a parametrization or a hook computes: what they have in common with their originals.

Weight normalization commutes with renumbering. The vectors of spectral normalization are buffers,
which a spec does not describe, so that its neurons keep their order; and so they do where weights
are made orthogonal or masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ._context import Context
from ._value import ParameterRef, Value

_ORDERED = ("_SpectralNorm", "_Orthogonal")


def computed(ctx: Context, part: nn.Module, originals: Sequence[Value]) -> Value | None:
    """What a parametrization of torch.nn.utils makes of weights; None for others."""
    kind = type(part)
    if kind.__module__ != "torch.nn.utils.parametrizations":
        return None
    if kind.__name__ in _ORDERED:
        ctx.pin(originals)
        return originals[0]
    return ctx.combine(originals) if kind.__name__ == "_WeightNorm" else None


def hooked(
    ctx: Context, module: nn.Module, name: str, find: Callable[[str], ParameterRef | Value | None]
) -> Value | None:
    """What a hook has computed: a tensor that is no parameter, made of parameters beside it."""
    tensor = module.__dict__.get(name)
    if not isinstance(tensor, Tensor):
        return None if tensor is None and name in module.__dict__ else Value()
    hooks = {type(hook).__name__ for hook in module._forward_pre_hooks.values()}
    beside = {end: find(f"{name}_{end}") for end in "vg" if f"{name}_{end}" in module._parameters}
    if "WeightNorm" in hooks and len(beside) == 2:
        return ctx.combine([ctx.as_value(part) for part in beside.values()])
    original = find(f"{name}_orig") if f"{name}_orig" in module._parameters else None
    if original is None:
        return Value(rank=tensor.dim(), shape=tuple(tensor.shape))
    weight = ctx.as_value(original)
    ctx.pin(weight)
    return weight
