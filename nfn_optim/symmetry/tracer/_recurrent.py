"""Rules for recurrent layers: hidden units are one population, gates are maps side by side.

`weight_ih` is stored `(gates * hidden, inputs)` and `weight_hh` `(gates * hidden, hidden)`. With a
projection, what is fed back are the projected units instead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from ._context import Context
from ._populations import Axes, Node
from ._value import Axis, Lookup, ParameterRef, Stacked, Value

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_CELL_GATES = {nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1}


def layers(
    ctx: Context, module: nn.RNNBase, own: Lookup, input: Value, hx: object = None
) -> tuple[Value, Any]:
    """LSTM, GRU and RNN: the outputs, and the last states of all layers."""
    is_lstm = module.mode == "LSTM"
    gates = _GATES[module.mode]
    starts = _starts(hx, 2 if is_lstm else 1)
    x, states = _along_time(ctx, input), list[list[Value]]()
    for layer in range(module.num_layers):
        directions: list[list[Value]] = []
        for suffix in ("", "_reverse")[: 1 + module.bidirectional]:
            name = f"{ctx.layer}.l{layer}{suffix}" if layer or suffix else ctx.layer
            unit = _Unit(ctx, own, name, module.hidden_size, gates, f"_l{layer}{suffix}")
            at = len(states) + len(directions)
            given = [_start(ctx, start, at) for start in starts]
            directions.append(unit.run(x, given, module.proj_size))
        states += directions
        x = _side_by_side(ctx, [direction[0] for direction in directions], x.rank)
    last = [Stacked(tuple(_state(unit[i]) for unit in states)) for i in range(len(starts))]
    return x, tuple(last) if is_lstm else last[0]


def cell(
    ctx: Context, module: nn.RNNCellBase, own: Lookup, input: Value, hx: object = None
) -> Value | tuple[Value, ...]:
    """LSTMCell, GRUCell and RNNCell: one step."""
    gates = next(gates for kind, gates in _CELL_GATES.items() if isinstance(module, kind))
    given = [_start(ctx, start, 0) for start in _starts(hx, 2 if gates == 4 else 1)]
    unit = _Unit(ctx, own, ctx.layer, module.hidden_size, gates, "")
    states = unit.run(_along_time(ctx, input), given, 0)
    return tuple(states) if gates == 4 else states[0]


def pack(ctx: Context, x: Value, *_: object, **__: object) -> Value:
    """`pack_padded_sequence`: all steps of all sequences `(steps, neurons)`."""
    x = ctx.without(x, [dim for dim in x.axes if dim != -1], pin=True)
    return Value(x.axes, 2, None, x.source, x.lost)


def unpack(ctx: Context, x: Value, *_: object, **__: object) -> tuple[Value, Value]:
    """`pad_packed_sequence`: the sequences and their lengths."""
    return Value(x.axes, 3, None, x.source, x.lost), Value(rank=1)


class _Unit:
    """One direction of one layer."""

    def __init__(
        self, ctx: Context, own: Lookup, name: str, size: int, gates: int, suffix: str
    ) -> None:
        self._ctx, self._own, self._name = ctx, own, name
        self._size, self._gates, self._suffix = size, gates, suffix

    def run(self, x: Value, given: list[Value | None], projected: int) -> list[Value]:
        """Hidden and (where two states are given) cell states, from the inputs."""
        ctx = self._ctx
        cells = ctx.populations.new(self._name, self._size)
        fed, width = cells, self._size
        if projected:
            fed, width = ctx.populations.new(f"{self._name}.proj", projected), projected
            self._claim("weight_hr", [(fed, projected), (cells, self._size)], [fed, cells])
        weight = self._own(f"weight_ih{self._suffix}")
        inputs = ctx.parameters.shape(weight.name)[-1] if isinstance(weight, ParameterRef) else 0
        read = ctx.read_axis(x, -1, inputs)
        self._map("weight_ih", cells, read)
        self._map("weight_hh", cells, [(fed, width)])
        self._map("bias_ih", cells, [])
        self._map("bias_hh", cells, [])
        states = [Value({-1: Axis(node)}, x.rank) for node in (fed, cells)[: len(given)]]
        return [
            state if start is None else ctx.combine([state, replace(start, rank=x.rank)])
            for state, start in zip(states, given, strict=True)
        ]

    def _map(self, kind: str, cells: Node, read: Axes) -> None:
        """A parameter whose rows are the hidden units of each gate in turn."""
        rows: Axes = [(cells, self._size)]
        gates: Axes = [(None, self._gates)] if self._gates > 1 else []
        nodes = [node for node, _ in read if node is not None]
        self._claim(kind, [*gates, *rows, *read], [cells, *nodes], 0 if gates else None)

    def _claim(self, kind: str, axes: Axes, roles: list[Node], maps: int | None = None) -> None:
        parameter = self._own(f"{kind}{self._suffix}")
        if isinstance(parameter, ParameterRef):
            self._ctx.parameters.claim(parameter.name, axes, roles, maps=maps)
        elif parameter is not None:
            self._ctx.pin(parameter)
            self._ctx.populations.pin(roles)


def _starts(hx: object, count: int) -> list[object]:
    """The initial states, None for zeros."""
    if count == 1 or not isinstance(hx, tuple):
        return [hx] * count
    return list(hx)[:count]


def _start(ctx: Context, start: object, at: int) -> Value | None:
    """The initial state of one unit, of all that are given."""
    if start is None:
        return None
    if isinstance(start, Stacked):
        return start.items[at] if at < len(start.items) else ctx.as_value(start)
    value = ctx.as_value(start)
    axes = {dim: axis for dim, axis in value.axes.items() if dim == -1}
    ctx.pin(ctx.without(value, axes, pin=False))
    return None if value.shape == () else Value(axes, None, None, value.source, value.lost)


def _along_time(ctx: Context, x: Value) -> Value:
    """Inputs with axes over neurons only along their last axis; the order of steps matters."""
    x = ctx.without(x, [dim for dim in x.axes if dim != -1], pin=True)
    return Value(x.axes, 3 if x.rank is None else x.rank, None, x.source, x.lost)


def _side_by_side(ctx: Context, outputs: list[Value], rank: int | None) -> Value:
    """The outputs of both directions, a population of its own whose order is pinned."""
    if len(outputs) == 1:
        return outputs[0]
    ctx.pin(outputs)
    size = sum(ctx.populations.size(output.axes[-1].node) for output in outputs)
    both = ctx.populations.new(f"{ctx.layer}.both", size, pinned=True)
    return Value({-1: Axis(both)}, rank)


def _state(x: Value) -> Value:
    """The last state of a sequence `(batch, neurons)`."""
    return Value(x.axes, 2, None, None, x.lost)
