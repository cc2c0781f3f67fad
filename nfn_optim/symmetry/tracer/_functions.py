"""Rules for functions, operators and tensor methods, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from . import (
    _axes,
    _einops,
    _embeddings,
    _layers,
    _numbers,
    _pieces,
    _pools,
    _products,
    _recurrent,
    _shapes,
    _signatures,
)
from ._context import Context
from ._value import NUMBER, ParameterRef, Several, Size, Sizes, Stacked, Value

Rule = Callable[..., Any]

# Entry by entry, with broadcasting.
ELEMENTWISE = frozenset(
    """
    abs acos acosh add addcdiv addcmul alpha_dropout and_ asin asinh atan atan2 atanh
    bernoulli bfloat16 bitwise_and bitwise_not bitwise_or ceil celu clamp clamp_max
    clamp_min clip clone complex conj contiguous copysign cos cosh cpu cuda detach div
    divide double dropout dropout1d dropout2d dropout3d elu empty_like eq erf erfc exp
    exp2 expm1 feature_alpha_dropout feature_dropout float floor floor_divide floordiv
    fmod frac full_like ge gelu greater gt half hardshrink hardsigmoid hardswish
    hardtanh heaviside iadd imag imul invert isfinite isinf isnan isub itruediv le
    leaky_relu lerp less lgamma log log10 log1p log2 logaddexp logical_and logical_not
    logical_or logit logsigmoid lt masked_fill maximum minimum mish mod mul multiply
    nan_to_num ne neg negative not_ ones_like or_ polar pos positive pow rand_like
    randn_like real reciprocal relu relu6 remainder requires_grad_ round rrelu rsqrt
    rsub selu sigmoid sign silu sin sinh softplus softshrink softsign sqrt square sub
    subtract tan tanh tanhshrink threshold true_divide truediv trunc where xor
    zeros_like
    """.split()
)
_POOLS = ("max", "avg", "lp")
_QUANTIZERS = (
    *("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine"),
    "fused_moving_avg_obs_fake_quant",
)
_IGNORED = frozenset("_assert _assert_is_none __assert__ is_ is_not _log_api_usage_once".split())


def attribute(ctx: Context, x: Any, name: str, *_: object) -> Any:
    """`getattr`: shapes are understood, transposes only of parameters."""
    if isinstance(x, ParameterRef) and name == "data":
        return x
    x = ctx.as_value(x) if isinstance(x, ParameterRef) else x
    if isinstance(x, Several) and name == "values":
        return x.item
    if name == "shape" and isinstance(x, Value):
        return Sizes(x)
    if name in ("T", "mT") and isinstance(x, Value) and (name == "mT" or x.rank == 2):
        return _axes.transpose(ctx, x, -2, -1)
    if name in ("dtype", "device", "ndim", "requires_grad", "is_cuda", "training"):
        return NUMBER
    return ctx.unknown(f"attribute {name}", x)


def size(ctx: Context, x: Any, dim: object = None) -> Any:
    """`x.size()`."""
    x = ctx.as_value(x) if isinstance(x, ParameterRef) else x
    if not isinstance(x, Value):
        return NUMBER
    return Sizes(x) if dim is None else _axes.size_of(ctx, x, dim)


def getitem(ctx: Context, x: Any, key: Any) -> Any:
    """`x[key]` of tensors, shapes and several tensors."""
    if isinstance(x, Sizes):
        return _of_sizes(ctx, x, key)
    if isinstance(x, Several):
        return x.item if isinstance(key, int) else x
    if isinstance(x, tuple) and isinstance(key, (int, slice)):
        return x[key] if isinstance(key, slice) or -len(x) <= key < len(x) else NUMBER
    if isinstance(x, Stacked) and _is_one_item(key, len(x.items)):
        return x.items[key[0] if isinstance(key, tuple) else key]
    if isinstance(x, ParameterRef) and isinstance(key, Value) and key.shape is None:
        return _embeddings.lookup(ctx, key, x)
    keys = tuple(NUMBER if isinstance(k, Size) else k for k in _as_tuple(key))
    return _pieces.index(ctx, ctx.as_value(x), keys)


def _of_sizes(ctx: Context, x: Sizes, key: Any) -> Any:
    """One size of a shape, or those of its first axes."""
    rank = x.of.rank
    if isinstance(key, int) and not x.without:
        return _axes.size_of(ctx, x.of, key)
    if not isinstance(key, slice) or key.start or key.step or x.without:
        return NUMBER
    if isinstance(key.stop, int) and rank is not None and key.stop >= 0:
        return Sizes(x.of, max(0, rank - key.stop))
    return Sizes(x.of, -key.stop) if isinstance(key.stop, int) and key.stop < 0 else NUMBER


def either(ctx: Context, *ways: Any) -> Value:
    """What code computes that goes one of several ways: what holds on all of them."""
    if all(isinstance(way, (Value, ParameterRef, int, float)) for way in ways):
        return ctx.combine([ctx.as_value(way) for way in ways])
    return ctx.unknown("a branch", *ways)


def norm(
    ctx: Context, x: Value, p: object = 2, dim: object = None, keepdim: object = False, **_: object
) -> Value:
    """The norm of all entries or along axes."""
    return _axes.reduce(ctx, x, dim, keepdim)


RULES: dict[str, Rule] = {
    **{f"{kind}_pool{d}d": partial(_pools.pool, dims=d) for kind in _POOLS for d in (1, 2, 3)},
    **{
        f"adaptive_{kind}_pool{d}d": partial(_pools.adaptive_pool, dims=d)
        for kind in _POOLS
        for d in (1, 2, 3)
    },
    **dict.fromkeys(("mean", "sum", "amax", "amin", "std", "var", "logsumexp"), _axes.reduce),
    **dict.fromkeys(("max", "min"), _axes.reduce_with_indices),
    **dict.fromkeys(("view", "reshape"), _shapes.reshape),
    **dict.fromkeys(("cat", "concat", "concatenate"), _pieces.concatenate),
    **dict.fromkeys(("chunk", "tensor_split"), _pieces.chunk),
    **dict.fromkeys(("zeros", "ones"), _numbers.equal),
    **dict.fromkeys(("empty", "rand", "randn"), _numbers.made),
    **dict.fromkeys(("tril", "triu"), _numbers.triangle),
    **dict.fromkeys(("matmul", "bmm"), _products.matmul),
    **dict.fromkeys(("transpose", "swapaxes"), _axes.transpose),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _signatures.conv),
    **{f"conv_transpose{d}d": _signatures.conv_transpose for d in (1, 2, 3)},
    **dict.fromkeys(("interpolate", "upsample"), _pools.channelwise),
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), _axes.softmax),
    "normalize": _axes.normalize,
    **dict.fromkeys(("to", "type", "type_as"), _axes.cast),
    **dict.fromkeys(("cumsum", "cumprod", "flip"), _axes.along),
    "roll": _axes.roll,
    **dict.fromkeys(("norm", "linalg_vector_norm", "vector_norm"), norm),
    **dict.fromkeys(("new_zeros", "new_ones"), lambda ctx, x, *size: _numbers.equal(ctx, *size)),
    **dict.fromkeys(_QUANTIZERS, _axes.in_order),
    "t": lambda ctx, x: _axes.transpose(ctx, x, -2, -1),
    "addmm": _products.addmm,
    "cdist": _products.distances,
    "embedding": _embeddings.lookup,
    "embedding_bag": _embeddings.bag,
    "pack_padded_sequence": _recurrent.pack,
    "pad_packed_sequence": _recurrent.unpack,
    "nfn_optim.either": either,
    "flatten": _shapes.flatten,
    "permute": _axes.permute,
    "unsqueeze": _axes.unsqueeze,
    "squeeze": _axes.squeeze,
    "unbind": _pieces.unbind,
    "split": _pieces.split,
    "stack": _axes.stack,
    "movedim": _axes.movedim,
    "repeat_interleave": _axes.repeat_interleave,
    "view_as_complex": _axes.as_complex,
    "view_as_real": _axes.as_real,
    "unflatten": _shapes.unflatten,
    "einsum": _products.einsum,
    "scaled_dot_product_attention": _products.attention,
    **dict.fromkeys(("einops.rearrange", "einops.repeat"), _einops.rearrange),
    "full": _numbers.full,
    "arange": _numbers.arange,
    "expand": _axes.expand,
    "repeat": _axes.repeat,
    "linear": _layers.linear,
    "layer_norm": _signatures.layer_norm,
    "rms_norm": _signatures.rms_norm,
    "pad": _pools.pad,
    "getattr": attribute,
    "getitem": getitem,
    "size": size,
    "dim": lambda ctx, x: NUMBER,
}
# The other rules are for one tensor; a parameter is then one that runs over neurons.
_TAKES_ANYTHING = (
    *(_layers.linear, _products.matmul, _products.einsum),
    *(_signatures.conv, _signatures.conv_transpose),
    *(getitem, attribute, size, either, _pieces.concatenate, _axes.stack),
    *(_products.addmm, _products.distances, _embeddings.lookup, _embeddings.bag),
    *(_numbers.made, _numbers.equal, _numbers.full, _numbers.arange),
)
# Where groups of neurons stay what they are: heads, or maps side by side.
_MOVES = (
    *(_axes.permute, _axes.transpose, _axes.unsqueeze, _axes.squeeze, _axes.movedim),
    _axes.cast,
    *(_shapes.reshape, _shapes.flatten, _shapes.unflatten, getitem, attribute, size),
    *(_pieces.unbind, _pieces.split, _pieces.chunk, _einops.rearrange),
)


def call(ctx: Context, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Applies the rule for a function, operator or method.

    Without a rule, or where it does not take such arguments, all neurons are pinned. What a rule
    raises is a mistake in the rule.
    """
    name = name if name.startswith("__") or name in ELEMENTWISE else name.rstrip("_")
    if name in _IGNORED:
        return NUMBER
    number = _numbers.compute(name, args)
    if number is not None:
        return number
    rule = RULES.get(name)
    moves = name in ELEMENTWISE or rule in _MOVES
    args, kwargs = ctx.settled(args, decide=not moves), ctx.settled(kwargs, decide=not moves)
    if name in ELEMENTWISE:
        return ctx.combine(ctx.as_values((args, kwargs)))
    if rule is None:
        return ctx.unknown(name, args, kwargs)
    if not fits(rule, (None, *args), kwargs):
        return ctx.unknown(f"an unusual call of {name}", args, kwargs)
    if args and rule not in _TAKES_ANYTHING:
        args = (ctx.as_value(args[0]), *args[1:])
    return ctx.checked(rule(ctx, *args, **kwargs))


def fits(rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a rule takes so many arguments of such names."""
    try:
        inspect.signature(rule).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _is_one_item(key: Any, count: int) -> bool:
    first, *rest = _as_tuple(key)
    return (
        isinstance(first, int) and -count <= first < count and all(k == slice(None) for k in rest)
    )


def _as_tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)
