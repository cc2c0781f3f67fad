"""Rules for the attention and the transformers of torch.nn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn import functional as F

from . import _layers
from ._context import Context
from ._value import Axis, Lookup, ParameterRef, Value


def attention(
    ctx: Context,
    module: nn.MultiheadAttention,
    own: Lookup,
    query: Value,
    key: Value,
    value: Value,
    key_padding_mask: Any = None,
    need_weights: Any = True,
    attn_mask: Any = None,
    average_attn_weights: Any = True,
    is_causal: Any = False,
) -> tuple[Value, Value]:
    """`nn.MultiheadAttention`: queries, keys and values run over the same neurons in heads."""
    size, count = module.embed_dim, module.num_heads
    inputs = tuple(_last_only(ctx, x) for x in (query, key, value))
    inner = _project(ctx, module, own, inputs)
    if 1 < count < size and ctx.populations.split(inner, count):
        _see_masks(ctx, ctx.populations.heads(inner), attn_mask)
    out = Value({-1: Axis(inner)}, inputs[0].rank)
    result = _layers.linear(ctx, out, own("out_proj.weight"), own("out_proj.bias"))
    if average_attn_weights is not True and need_weights is not False:
        ctx.pin(out)  # weights of each head are seen
    return result, Value()


def _last_only(ctx: Context, x: Value) -> Value:
    """A sequence whose items alone have neurons."""
    x = ctx.settled(ctx.as_value(x), decide=True)
    return ctx.without(x, [dim for dim in x.axes if dim != -1], pin=True)


def _project(
    ctx: Context, module: nn.MultiheadAttention, own: Lookup, inputs: tuple[Value, ...]
) -> int:
    """Claims the maps to queries, keys and values, which run over one population."""
    size = module.embed_dim
    kinds = ["in"] * 3 if own("in_proj_weight") is not None else ["q", "k", "v"]
    found = [own(f"{kind}_proj_weight") for kind in kinds]
    weights = [weight for weight in found if isinstance(weight, ParameterRef)]
    inner = ctx.populations.new(weights[0].owner, size)
    for weight, x in zip(weights, inputs, strict=True):
        inputs_of = ctx.parameters.shape(weight.name)[1]
        [(node, _), *positions] = ctx.read_axis(x, -1, inputs_of)
        if node is None or positions:
            ctx.pin(x)
            node = ctx.populations.new(f"{ctx.layer}.in", inputs_of, pinned=True)
        is_fused = ctx.parameters.shape(weight.name)[0] > size
        fused = [(None, 3)] if is_fused else []
        axes = [*fused, (inner, size), (node, inputs_of)]
        ctx.parameters.claim(weight.name, axes, [inner, node], maps=0 if is_fused else None)
    bias = own("in_proj_bias")
    if isinstance(bias, ParameterRef):
        ctx.parameters.claim(bias.name, [(None, 3), (inner, size)], [inner], maps=0)
    for bias in (own("bias_k"), own("bias_v")):
        if isinstance(bias, ParameterRef):
            ctx.parameters.claim(bias.name, [(None, 1), (None, 1), (inner, size)], [inner])
    return inner


def _see_masks(ctx: Context, heads: int | None, mask: Any) -> None:
    """A mask of three axes may tell heads apart."""
    if mask is not None and heads is not None and ctx.as_value(mask).rank != 2:
        ctx.populations.pin([heads])


def encoder_layer(
    ctx: Context,
    module: nn.TransformerEncoderLayer,
    own: Lookup,
    src: Value,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: Any = False,
) -> Value:
    """`nn.TransformerEncoderLayer`: all of it runs over one stream."""
    x = ctx.as_value(src)
    y, _ = attention(ctx, module.self_attn, _inside(own, "self_attn"), x, x, x, attn_mask=src_mask)
    return _mlp(ctx, module, own, ctx.combine([x, y]))


def decoder_layer(
    ctx: Context,
    module: nn.TransformerDecoderLayer,
    own: Lookup,
    tgt: Value,
    memory: Value,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    *_: Any,
    **__: Any,
) -> Value:
    """`nn.TransformerDecoderLayer`: its stream reads that of the memory."""
    x, memory = ctx.as_value(tgt), ctx.as_value(memory)
    y, _w = attention(ctx, module.self_attn, _inside(own, "self_attn"), x, x, x, attn_mask=tgt_mask)
    x = ctx.combine([x, y])
    cross = _inside(own, "multihead_attn")
    y, _w = attention(ctx, module.multihead_attn, cross, x, memory, memory, attn_mask=memory_mask)
    return _mlp(ctx, module, own, ctx.combine([x, y]))


def _mlp(ctx: Context, module: Any, own: Lookup, x: Value) -> Value:
    """The hidden layer of a transformer's block, and its norms: all are of the stream."""
    hidden = _layers.linear(ctx, x, own("linear1.weight"), own("linear1.bias"))
    if module.activation not in (F.relu, F.gelu) and not isinstance(module.activation, nn.Module):
        ctx.pin(hidden)
    x = ctx.combine([x, _layers.linear(ctx, hidden, own("linear2.weight"), own("linear2.bias"))])
    for name in (n for n in ("norm1", "norm2", "norm3") if hasattr(module, n)):
        x = _norm(ctx, getattr(module, name), _inside(own, name), x)
    return x


def _norm(ctx: Context, norm: Any, own: Lookup, x: Value) -> Value:
    return _layers.layer_norm(ctx, x, norm.normalized_shape, own("weight"), own("bias"))


def encoder(
    ctx: Context,
    module: nn.TransformerEncoder,
    own: Lookup,
    src: Value,
    mask: Any = None,
    *_: Any,
    **__: Any,
) -> Value:
    """`nn.TransformerEncoder`: its layers, one after the other."""
    return _in_turn(ctx, module, own, encoder_layer, src, mask)


def decoder(
    ctx: Context,
    module: nn.TransformerDecoder,
    own: Lookup,
    tgt: Value,
    memory: Value,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    *_: Any,
    **__: Any,
) -> Value:
    """`nn.TransformerDecoder`: its layers, one after the other."""
    return _in_turn(ctx, module, own, decoder_layer, tgt, memory, tgt_mask, memory_mask)


def _in_turn(
    ctx: Context, module: Any, own: Lookup, rule: Callable[..., Value], x: Value, *others: Any
) -> Value:
    """Layers of one kind, one after the other, and the norm behind them."""
    for i, layer in enumerate(module.layers):
        x = rule(ctx, layer, _inside(own, f"layers.{i}"), x, *others)
    return x if module.norm is None else _norm(ctx, module.norm, _inside(own, "norm"), x)


def transformer(
    ctx: Context,
    module: nn.Transformer,
    own: Lookup,
    src: Value,
    tgt: Value,
    src_mask: Any = None,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    *_: Any,
    **__: Any,
) -> Value:
    """`nn.Transformer`: an encoder whose output a decoder reads."""
    memory = encoder(ctx, module.encoder, _inside(own, "encoder"), src, src_mask)
    of_decoder = _inside(own, "decoder")
    return decoder(ctx, module.decoder, of_decoder, tgt, memory, tgt_mask, memory_mask)


RULES: dict[type[nn.Module], Callable[..., Any]] = {
    nn.MultiheadAttention: attention,
    nn.TransformerEncoderLayer: encoder_layer,
    nn.TransformerDecoderLayer: decoder_layer,
    nn.TransformerEncoder: encoder,
    nn.TransformerDecoder: decoder,
    nn.Transformer: transformer,
}
PARTS = (*RULES, nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Dropout, nn.ModuleList)


def _inside(own: Lookup, path: str) -> Lookup:
    """Parameters of a submodule."""
    return lambda name: own(f"{path}.{name}")
