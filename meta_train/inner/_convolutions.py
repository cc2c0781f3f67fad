"""Convolutions of many networks, each with its own kernels.

`torch.func.vmap` makes them one convolution of as many groups as there are networks. On a CPU that
takes several times as long as one network after another, above all on the way back.

Shape legend: `n` networks, `b` samples, `c` input and `o` output channels.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nfn_optim.native import convolution

_AXES = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


class OneAfterAnother(TorchFunctionMode):
    """Inside of it, convolutions that `vmap` stacks take the networks one after another."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Passes on what is no convolution."""
        call = _convolve if func in _AXES else func
        return call(*((func,) if call is _convolve else ()), *args, **(kwargs or {}))


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


def _convolve(
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    is_stacked = weight.is_cpu and torch._C._functorch.is_batchedtensor(weight)
    if not is_stacked or input.dim() != weight.dim() or isinstance(padding, str):
        result: Tensor = func(input, weight, bias, stride, padding, dilation, groups)
        return result
    each = partial(_each, axes=_AXES[func])
    geometry = _Geometry(each(stride), each(padding), each(dilation), groups)
    result = _Stacked.apply(input, weight, bias, geometry)
    return result


def _each(value: Any, *, axes: int) -> list[int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers * axes if len(numbers) == 1 else numbers


class _Stacked(torch.autograd.Function):
    """What `vmap` sees of a convolution with stacked weights."""

    @staticmethod
    def forward(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:
        """Only there for `vmap`."""
        raise AssertionError

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: see `_Convolution`."""

    @staticmethod
    def vmap(
        info: Any, axes: Any, input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Any
    ) -> tuple[Tensor, int]:
        """All networks, on a leading axis."""
        of_input, of_weight, of_bias, _ = axes
        n = info.batch_size
        input = input.expand(n, *input.shape) if of_input is None else input.movedim(of_input, 0)
        if bias is not None:
            bias = bias.expand(n, -1) if of_bias is None else bias.movedim(of_bias, 0)
        return _Convolution.apply(input, weight.movedim(of_weight, 0), bias, geometry), 0


class _Convolution(torch.autograd.Function):
    """Of samples `(n, b, c, *axes)` with kernels `(n, o, c / groups, *axes)`."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry
    ) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.geometry = geometry
        ctx.is_native = geometry.is_simple and convolution.can_convolve(
            input, weight, bias, *geometry.simple
        )
        if ctx.is_native:
            return convolution.forward(input, weight, bias, *geometry.simple)
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
        input, weight = ctx.saved_tensors
        if ctx.is_native and not torch.is_grad_enabled():
            of_input = ctx.needs_input_grad[0]
            simple = ctx.geometry.simple
            *of_both, of_bias = convolution.backward(
                adjoint, input, weight, *simple, of_input=of_input
            )
            return *of_both, of_bias if ctx.needs_input_grad[2] else None, None
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
