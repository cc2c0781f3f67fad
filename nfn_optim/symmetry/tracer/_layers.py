"""Rules for what holds parameters: affine maps, convolutions and normalization."""

from __future__ import annotations

from collections.abc import Sequence

from . import _axes, _weights
from ._context import Context
from ._populations import Axes, Node
from ._value import Axis, ParameterRef, Part, Value


def linear(
    ctx: Context, x: object, weight: object, bias: object = None, *, transposed: bool = False
) -> Value:
    """`x @ weight.T + bias`; `transposed`: `x @ weight`."""
    x = ctx.as_value(x)
    if isinstance(weight, Value):
        return _weights.linear(ctx, x, weight, bias, transposed=transposed)
    if not isinstance(weight, ParameterRef) or len(ctx.parameters.shape(weight.name)) != 2:
        return ctx.unknown("a linear map of unknown shape", x, weight, bias)
    width, inputs = ctx.parameters.shape(weight.name)[:: -1 if transposed else 1]
    out = ctx.populations.new(weight.owner, width)
    read = ctx.read_axis(x, -1, inputs)
    axes = [*read, (out, width)] if transposed else [(out, width), *read]
    ctx.parameters.claim(weight.name, axes, [out, *_nodes(read)])
    add_vector(ctx, bias, [(out, width)])
    kept = {dim: axis for dim, axis in x.axes.items() if dim != -1}
    return Value({**kept, -1: Axis(out)}, x.rank)


def bilinear(ctx: Context, x: Value, other: Value, weight: object, bias: object) -> Value:
    """`x @ weight[o] @ other`: outputs and first inputs are a matrix, second ones are positions."""
    if not isinstance(weight, ParameterRef):
        return ctx.unknown("a bilinear map with computed weights", x, other, weight, bias)
    width, first, second = ctx.parameters.shape(weight.name)
    out = ctx.populations.new(weight.owner, width)
    read = ctx.read_axis(x, -1, first)
    ctx.populations.pin(_nodes(ctx.read_axis(other, -1, second)))
    axes: Axes = [(out, width), *read, (None, second)]
    ctx.parameters.claim(weight.name, axes, [out, *_nodes(read)])
    add_vector(ctx, bias, [(out, width)])
    kept = ctx.combine([ctx.without(value, [-1], pin=False) for value in (x, other)])
    return Value({**kept.axes, -1: Axis(out)}, kept.rank)


def convolution(
    ctx: Context,
    x: Value,
    weight: object,
    bias: object = None,
    *,
    groups: object = 1,
    transposed: bool = False,
) -> Value:
    """A convolution over the last axes, all but two of the weight's; outputs are channels."""
    if isinstance(x, Value) and isinstance(weight, Value):
        return _weights.convolution(ctx, x, weight, bias, groups=groups, transposed=transposed)
    if not isinstance(x, Value) or not isinstance(weight, ParameterRef):
        return ctx.unknown("a convolution with computed weights", x, weight, bias)
    if not isinstance(groups, int) or len(ctx.parameters.shape(weight.name)) < 3:
        return ctx.unknown("a convolution of unknown groups", x, weight, bias)
    first, second, *taps = ctx.parameters.shape(weight.name)
    dim = -1 - len(taps)
    inputs, width = (first, second * groups) if transposed else (second * groups, first)
    x = ctx.without(x, [a for a in x.axes if a != dim], pin=True)
    read = ctx.read_axis(x, dim, inputs)
    spatial = [(None, size) for size in taps]
    if groups == inputs > 1 and len(read) == 1:
        return _depthwise(ctx, weight, bias, _nodes(read)[0], transposed, dim)
    if groups > 1:
        ctx.populations.pin(_nodes(read))
        return _grouped(ctx, weight, bias, groups, transposed, dim)
    out = ctx.populations.new(weight.owner, width)
    axes = [*read, (out, width)] if transposed else [(out, width), *read]
    ctx.parameters.claim(weight.name, [*axes, *spatial], [out, *_nodes(read)])
    add_vector(ctx, bias, [(out, width)])
    return Value({dim: Axis(out)}, 1 - dim)


def _depthwise(
    ctx: Context, weight: ParameterRef, bias: object, node: Node, transposed: bool, dim: int
) -> Value:
    """Kernels of one channel each: vectors with taps, as outputs are the inputs' neurons."""
    first, second, *taps = ctx.parameters.shape(weight.name)
    size = ctx.populations.size(node)
    each = second if transposed else first // size
    several: Axes = [(None, each)] if each > 1 else []
    storage = [(None, each)] if transposed else [*several, (None, 1)]
    axes: Axes = [(node, size), *storage, *((None, n) for n in taps)]
    ctx.parameters.claim(weight.name, axes, [node])
    add_vector(ctx, bias, [(node, size), *several])
    return Value({dim: Axis(node, after=each > 1)}, 1 - dim)


def _grouped(
    ctx: Context, weight: ParameterRef, bias: object, groups: int, transposed: bool, dim: int
) -> Value:
    """Channels in groups keep their order; a kernel's inputs are a population of its own.

    The axis of all groups, outputs or (transposed) inputs, is made of heads.
    """
    first, second, *taps = ctx.parameters.shape(weight.name)
    width = second * groups if transposed else first
    out = ctx.populations.new(weight.owner, width, pinned=True)
    each = ctx.populations.new(f"{weight.owner}.group", second, pinned=True)
    every = ctx.populations.new(f"{weight.owner}.in", first, pinned=True) if transposed else out
    if ctx.populations.split(every, groups):
        ctx.populations.heads(every)
    roles = [each, every] if transposed else [every, each]
    storage: Axes = [(every, first), (each, second), *((None, n) for n in taps)]
    ctx.parameters.claim(weight.name, storage, roles)
    add_vector(ctx, bias, [(out, width)])
    return Value({dim: Axis(out)}, 1 - dim)


def channel_norm(
    ctx: Context, x: Value, dim: int | None, size: int, vectors: Sequence[object]
) -> Value:
    """Gains and biases of one axis, whatever the statistics are taken over."""
    if dim is None:
        return ctx.unknown("a normalization of an unknown axis", x, list(vectors))
    read = ctx.read_axis(x, dim, size)
    for vector in vectors:
        add_vector(ctx, vector, read)
    if dim in x.axes and x.axes[dim].node not in _nodes(read):
        return ctx.without(x, [dim], pin=True)
    return x if dim in x.axes else _with_axis(x, dim, _nodes(read))


def _with_axis(x: Value, dim: int, nodes: Sequence[Node]) -> Value:
    """Names an axis that nothing wrote to after the vectors that act on it."""
    return Value({**x.axes, dim: Axis(nodes[0])}, x.rank, None, None, x.lost)


def layer_norm(
    ctx: Context, x: Value, shape: object, weight: object = None, bias: object = None
) -> Value:
    """LayerNorm and RMSNorm over the last axes."""
    vectors = [v for v in (weight, bias) if v is not None]
    if not vectors and all(axis.part is Part.WHOLE for axis in x.axes.values()):
        return x
    if not isinstance(shape, (list, tuple)) or not all(isinstance(size, int) for size in shape):
        return ctx.unknown("a normalization over unknown axes", x, vectors)
    if not vectors:
        statistics = _axes.reduce(ctx, x, tuple(range(-len(shape), 0)), keepdim=True)
        return ctx.combine([x, statistics])
    if len(shape) == 1:
        return channel_norm(ctx, x, -1, shape[0], vectors)
    dims = range(-len(shape), 0)
    named = {d: x.axes[d].node for d in dims if d in x.axes and x.axes[d].is_plain}
    fits = [ctx.populations.size(node) == shape[d] for d, node in named.items()]
    if fits != [True] or len(x.axes) > 1:
        return ctx.unknown("a normalization over several axes", x, vectors)
    axes = [(named.get(d), size) for d, size in zip(dims, shape, strict=True)]
    for vector in vectors:
        add_vector(ctx, vector, axes)
    return x


def channel_dim(ctx: Context, x: Value, size: int) -> int | None:
    """Axis 1 counted from the back; a tensor of unknown rank from a Linear has two axes."""
    if x.rank is not None:
        return 1 - x.rank if x.rank >= 2 else None
    axis = x.axes.get(-1)
    if len(x.axes) == 1 and axis is not None and ctx.populations.size(axis.node) == size:
        return -1
    return None


def add_vector(ctx: Context, vector: object, axes: Axes) -> None:
    """Claims a bias or gain that runs over neurons (and positions)."""
    if isinstance(vector, ParameterRef):
        ctx.parameters.claim(vector.name, axes, _nodes(axes))
    elif isinstance(vector, Value):
        ctx.pin(vector)
        ctx.populations.pin(_nodes(axes))


def _nodes(axes: Axes) -> list[Node]:
    return [node for node, _ in axes if node is not None]
