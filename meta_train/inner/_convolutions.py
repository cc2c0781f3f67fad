"""Convolutions of many networks, each with its own kernels.

`torch.func.vmap` makes them one convolution of as many groups as there are networks. On a CPU that
takes several times as long as one network after another, above all on the way back.

Shape legend: `n` networks, `b` samples, `c` input and `o` output channels.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nfn_optim.native import convolution, dense, pointer

from ._pools import adaptive_mean
from ._unwritten import Unwritten

_AXES = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
_RECTIFIERS = {torch.relu, F.relu, Tensor.relu}
_INSTEAD = {F.adaptive_avg_pool2d: adaptive_mean}
_FEWEST = 4  # samples; fewer leave too much of native code's registers empty


class OneAfterAnother(TorchFunctionMode):
    """Inside of it, convolutions that `vmap` stacks take the networks one after another.

    A native convolution waits for the next call into torch. If that rectifies its result, both are
    computed at once, and the result itself is computed only if anyone still holds it.
    """

    _waiting: _Waiting | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Passes on what is neither a convolution nor what comes after it."""
        if (waiting := self._waiting) is not None:
            if func in _RECTIFIERS and waiting.is_all_of(args, kwargs or {}):
                return waiting.rectified()
            self._compute()
        if func not in _AXES:
            return _INSTEAD.get(func, func)(*args, **(kwargs or {}))
        result, self._waiting = _convolve(func, *args, **(kwargs or {}))
        return result

    def __exit__(self, *raised: Any) -> None:
        """Nothing waits any longer."""
        self._compute()
        super().__exit__(*raised)

    def _compute(self) -> None:
        if self._waiting is not None:
            self._waiting.unwritten.compute()
        self._waiting = None


class _Geometry(NamedTuple):
    """What a convolution is told beside its tensors."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    @property
    def is_simple(self) -> bool:
        """Whether native code knows it."""
        alike = len({*self.stride}) == len({*self.padding}) == 1
        return alike and {*self.dilation} == {1} and self.groups == 1

    @property
    def simple(self) -> tuple[int, int]:
        """Stride and padding of all axes."""
        return self.stride[0], self.padding[0]


@dataclass
class _Call:
    """A convolution under way.

    Attributes:
        geometry: As it was called.
        is_rectified: Whether negative results become zero, which only native code does.
        unwritten: The result of native code, where it is still to be computed.
    """

    geometry: _Geometry
    is_rectified: bool = False
    unwritten: Unwritten | None = None


@dataclass(frozen=True)
class _Waiting:
    """A native convolution whose result is not yet computed.

    Attributes:
        result: The result, as the caller has it.
        unwritten: Its memory.
        rectified: Computes it again, without negative numbers.
    """

    result: weakref.ref[Tensor]
    unwritten: Unwritten
    rectified: Callable[[], Tensor]

    def is_all_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether these arguments are the result, which is not to be changed in place."""
        is_alone = len(args) == 1 and args[0] is self.result()
        return is_alone and kwargs in ({}, {"inplace": False})


def _convolve(
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, _Waiting | None]:
    is_stacked = weight.is_cpu and torch._C._functorch.is_batchedtensor(weight)
    if not is_stacked or input.dim() != weight.dim() or isinstance(padding, str):
        return func(input, weight, bias, stride, padding, dilation, groups), None
    each = partial(_each, axes=_AXES[func])
    call = _Call(_Geometry(each(stride), each(padding), each(dilation), groups))
    apply = partial(_Stacked.apply, input, weight, bias)
    result: Tensor = apply(call)
    if call.unwritten is None:
        return result, None
    rectified = partial(apply, _Call(call.geometry, is_rectified=True))
    return result, _Waiting(weakref.ref(result), call.unwritten, rectified)


def _each(value: Any, *, axes: int) -> list[int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers * axes if len(numbers) == 1 else numbers


def _natively(input: Tensor, weight: Tensor, bias: Tensor | None, call: _Call) -> Tensor:
    """The result of native code, or where it is to be."""
    result = convolution.empty_result(input, weight, *call.geometry.simple)
    bias = None if bias is None else dense(bias)
    given = (dense(input), dense(weight), bias, *call.geometry.simple)
    write = partial(convolution.forward, *given, call.is_rectified)
    if call.is_rectified:
        write(pointer(result))
    else:
        call.unwritten = Unwritten(result, write)
    return result


class _Stacked(torch.autograd.Function):
    """What `vmap` sees of a convolution with stacked weights."""

    @staticmethod
    def forward(input: Tensor, weight: Tensor, bias: Tensor | None, call: _Call) -> Tensor:
        """Only there for `vmap`."""
        raise AssertionError

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: see `_Convolution`."""

    @staticmethod
    def vmap(
        info: Any, axes: Any, input: Tensor, weight: Tensor, bias: Tensor | None, call: _Call
    ) -> tuple[Tensor, int]:
        """All networks, on a leading axis."""
        of_input, of_weight, of_bias, _ = axes
        n = info.batch_size
        input = input.expand(n, *input.shape) if of_input is None else input.movedim(of_input, 0)
        if bias is not None:
            bias = bias.expand(n, -1) if of_bias is None else bias.movedim(of_bias, 0)
        return _Convolution.apply(input, weight.movedim(of_weight, 0), bias, call), 0


class _Convolution(torch.autograd.Function):
    """Of samples `(n, b, c, *axes)` with kernels `(n, o, c / groups, *axes)`."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, call: _Call
    ) -> Tensor:
        ctx.geometry = geometry = call.geometry
        ctx.is_native = (
            geometry.is_simple
            and input.shape[1] >= _FEWEST
            and convolution.can_convolve(input, weight, bias, *geometry.simple)
        )
        if ctx.is_native:
            result = _natively(input, weight, bias, call)
            ctx.save_for_backward(input, weight, result if call.is_rectified else None)
            return result
        ctx.save_for_backward(input, weight, None)
        biases = [None] * len(weight) if bias is None else bias
        stride, padding, dilation, groups = geometry
        none = [0] * len(stride)
        return torch.stack(
            [
                torch.convolution(x, w, b, stride, padding, dilation, False, none, groups)
                for x, w, b in zip(input, weight, biases, strict=True)
            ]
        )

    @staticmethod
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiable, as the operations in it are."""
        input, weight, rectified = ctx.saved_tensors
        if ctx.is_native and not torch.is_grad_enabled():
            of_input = ctx.needs_input_grad[0]
            *of_both, of_bias = convolution.backward(
                *(adjoint, input, weight, rectified, *ctx.geometry.simple), of_input=of_input
            )
            return *of_both, of_bias if ctx.needs_input_grad[2] else None, None
        if rectified is not None:
            adjoint = adjoint.masked_fill(rectified == 0, 0.0)
        stride, padding, dilation, groups = ctx.geometry
        none, wanted = [0] * len(stride), list(ctx.needs_input_grad[:3])
        found = [
            torch.ops.aten.convolution_backward(
                *(g, x, w, [len(w)], stride, padding, dilation, False, none, groups, wanted)
            )
            for g, x, w in zip(adjoint, input, weight, strict=True)
        ]
        return *(
            torch.stack(of_all) if is_wanted else None
            for of_all, is_wanted in zip(zip(*found, strict=True), wanted, strict=True)
        ), None
