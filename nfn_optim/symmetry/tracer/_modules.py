"""Rules for the layers of torch.nn, by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from . import _attention, _axes, _einops, _embeddings, _layers, _pieces, _recurrent, _shapes
from ._context import Context
from ._pools import channelwise, spatial
from ._value import Lookup, ParameterRef, Value

Rule = Callable[..., Any]

_NOT_ELEMENTWISE = (nn.MultiheadAttention, nn.PReLU, nn.GLU)
_ELEMENTWISE = (
    nn.Identity,
    nn.Softmax2d,
    *(getattr(nn, name) for name in nn.modules.activation.__all__),
    *(
        nn.Dropout,
        nn.Dropout1d,
        nn.Dropout2d,
        nn.Dropout3d,
        nn.AlphaDropout,
        nn.FeatureAlphaDropout,
    ),
)
_POOLS = {
    getattr(nn, f"{kind}Pool{dim}d"): dim
    for dim in (1, 2, 3)
    for kind in ("Max", "Avg", "LP", "AdaptiveMax", "AdaptiveAvg")
}
_PADS = {
    getattr(nn, f"{kind}Pad{dim}d"): dim
    for dim in (1, 2, 3)
    for kind in ("Constant", "Zero", "Reflection", "Replication", "Circular")
}
_BATCH_NORMS = {
    nn.BatchNorm1d: None,
    nn.BatchNorm2d: 4,
    nn.BatchNorm3d: 5,
    nn.SyncBatchNorm: None,
    nn.InstanceNorm1d: 3,
    nn.InstanceNorm2d: 4,
    nn.InstanceNorm3d: 5,
}


def find_rule(module: nn.Module) -> Rule | None:
    """The rule of a layer; None for a module whose forward code must be read.

    A rule takes the context, the module, a lookup of its parameters, and what forward takes.
    """
    if f"{type(module).__module__}.{type(module).__name__}" == "einops.layers.torch.Rearrange":
        return _rearrange
    kind = next((k for k in type(module).__mro__ if k in RULES), None)
    if kind is None or type(module).forward is not kind.forward:
        return None
    if kind in _attention.RULES and not all(_is_part(inner) for inner in module.modules()):
        return None
    return RULES[kind]


def reason_without_rule(module: nn.Module) -> str | None:
    """Why a layer of torch.nn has no rule; None for other modules."""
    if isinstance(module, nn.MultiheadAttention) and find_rule(module) is None:
        return "its attention has weights or forward code of its own"
    return None


def _is_part(module: nn.Module) -> bool:
    """Whether a module inside of a transformer of torch.nn is what its rule takes it for."""
    kind = next((k for k in (*_attention.PARTS, *_ELEMENTWISE) if isinstance(module, k)), None)
    return kind is not None and type(module).forward is kind.forward and not _is_computed(module)


def _is_computed(module: nn.Module) -> bool:
    """Whether weights are computed from other parameters: such tensors are plain attributes."""
    names = ("weight", "in_proj_weight")
    hooked = any(isinstance(module.__dict__.get(name), Tensor) for name in names)
    return "parametrizations" in module._modules or hooked


def _linear(ctx: Context, module: nn.Linear, own: Lookup, x: Value) -> Value:
    return _layers.linear(ctx, x, own("weight"), own("bias"))


def _conv(ctx: Context, module: nn.modules.conv._ConvNd, own: Lookup, x: Value) -> Value:
    return _layers.convolution(
        ctx,
        x,
        own("weight"),
        own("bias"),
        groups=module.groups,
        transposed=module.transposed,
    )


def _batch_norm(ctx: Context, module: Any, own: Lookup, x: Value) -> Value:
    rank = next((_BATCH_NORMS[k] for k in type(module).__mro__ if k in _BATCH_NORMS), None)
    dim = 1 - rank if rank else _layers.channel_dim(ctx, x, module.num_features)
    if rank and x.rank is None:
        x = Value(x.axes, rank, None, x.source, x.lost)
    return _layers.channel_norm(ctx, x, dim, module.num_features, _affine(own))


def _group_norm(ctx: Context, module: nn.GroupNorm, own: Lookup, x: Value) -> Value:
    dim = _layers.channel_dim(ctx, x, module.num_channels)
    if 1 < module.num_groups < module.num_channels and dim in x.axes:
        ctx.pin(x)  # channels of one group share their statistics
    return _layers.channel_norm(ctx, x, dim, module.num_channels, _affine(own))


def _layer_norm(ctx: Context, module: Any, own: Lookup, x: Value) -> Value:
    return _layers.layer_norm(ctx, x, module.normalized_shape, own("weight"), own("bias"))


def _prelu(ctx: Context, module: nn.PReLU, own: Lookup, x: Value) -> Value:
    slope = own("weight")
    if module.num_parameters == 1:
        ctx.as_value(slope)
        return x
    dim = _layers.channel_dim(ctx, x, module.num_parameters)
    return _layers.channel_norm(ctx, x, dim, module.num_parameters, [slope])


def _embedding(ctx: Context, module: nn.Embedding, own: Lookup, x: Value) -> Value:
    return _embeddings.lookup(ctx, x, own("weight"))


def _embedding_bag(
    ctx: Context, module: nn.EmbeddingBag, own: Lookup, x: Value, *others: object, **more: object
) -> Value:
    return _embeddings.bag(ctx, x, own("weight"), *others, *more.values())


def _bilinear(ctx: Context, module: nn.Bilinear, own: Lookup, x: Value, other: object) -> Value:
    return _layers.bilinear(ctx, x, ctx.as_value(other), own("weight"), own("bias"))


def _affine(own: Lookup) -> list[ParameterRef | Value]:
    return [p for p in (own("weight"), own("bias")) if p is not None]


def _pool(dims: int) -> Rule:
    def rule(ctx: Context, module: Any, own: Lookup, x: Value) -> Value:
        if getattr(module, "return_indices", False):
            return ctx.unknown("pooling with indices", x)
        return spatial(ctx, x, dims, getattr(module, "output_size", None))

    return rule


def _pad(dims: int) -> Rule:
    return lambda ctx, module, own, x: ctx.without(x, range(-dims, 0), pin=True)


def _glu(ctx: Context, module: nn.GLU, own: Lookup, x: Value) -> Value:
    return _pieces.chunk(ctx, x, 2, module.dim).item


def _rearrange(ctx: Context, module: Any, own: Lookup, x: Value) -> Value:
    return _einops.rearrange(ctx, x, module.pattern, **module.axes_lengths)


RULES: dict[type[nn.Module], Rule] = {
    **_attention.RULES,
    **dict.fromkeys((k for k in _ELEMENTWISE if k not in _NOT_ELEMENTWISE), lambda c, m, o, x: x),
    **{kind: _pool(dims) for kind, dims in _POOLS.items()},
    **{kind: _pad(dims) for kind, dims in _PADS.items()},
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _conv),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _conv),
    **dict.fromkeys(_BATCH_NORMS, _batch_norm),
    **dict.fromkeys((nn.LayerNorm, nn.RMSNorm), _layer_norm),
    nn.Linear: _linear,
    nn.Bilinear: _bilinear,
    nn.Embedding: _embedding,
    nn.EmbeddingBag: _embedding_bag,
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU), _recurrent.layers),
    **dict.fromkeys((nn.RNNCell, nn.LSTMCell, nn.GRUCell), _recurrent.cell),
    nn.GroupNorm: _group_norm,
    nn.PReLU: _prelu,
    nn.GLU: _glu,
    **dict.fromkeys(
        (nn.Softmax, nn.LogSoftmax, nn.Softmin),
        lambda ctx, module, own, x: _axes.softmax(ctx, x, module.dim),
    ),
    nn.Upsample: lambda ctx, module, own, x: channelwise(ctx, x),
    nn.Flatten: lambda ctx, module, own, x: _shapes.flatten(
        ctx, x, module.start_dim, module.end_dim
    ),
    nn.Unflatten: lambda ctx, module, own, x: _shapes.unflatten(
        ctx, x, module.dim, module.unflattened_size
    ),
}
