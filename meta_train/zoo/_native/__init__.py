"""Training of populations in native code: the same steps to rounding, and faster on a CPU.

Networks are trained one after another, each for many steps, so that all it needs stays in the
cache. Shape legend: `n` networks of `d` parameters, `m` samples, `b` of them a step, `k` steps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nfn_optim import AdamRule, NetworkSpec, SGDRule, UpdateRule, native

from .._problem import Problem
from .._sine import Sine

_SAMPLES_AT_ONCE = 32  # when networks are measured


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The native code; compiles it where that was not done before.

    Raises:
        BuildError: If it cannot be compiled.
    """
    return native.build(Path(str(files(__package__))) / "train.cpp")


@lru_cache(maxsize=1)
def can_build() -> bool:
    """Whether `library()` works here; tried once a process."""
    return native.works(library)


@dataclass(frozen=True)
class _Layer:
    """A convolution and what follows it, as `network.h` has it.

    A linear layer is one with a kernel as large as its input.
    """

    channels: int
    height: int
    width: int
    kernel_height: int
    kernel_width: int
    stride: int
    padding: int
    out: int
    activation: int
    pooled: int
    weight: int
    bias: int

    @property
    def result(self) -> tuple[int, int, int]:
        """Shape of what it writes."""
        if self.pooled:
            return self.out, 1, 1
        sides = ((self.height, self.kernel_height), (self.width, self.kernel_width))
        height, width = ((n + 2 * self.padding - k) // self.stride + 1 for n, k in sides)
        return self.out, height, width


@dataclass(frozen=True)
class Program:
    """A network's layers, for native code.

    Attributes:
        layers: One after another.
        parameters: How many a network has.
        omega: Frequency factor of its sines.
    """

    layers: tuple[_Layer, ...]
    parameters: int
    omega: float


def read(module: nn.Sequential, spec: NetworkSpec, shape: Sequence[int]) -> Program | None:
    """What native code has to know of a network; None if it has no way for it.

    Args:
        module: Its layers.
        spec: Its parameters in their order.
        shape: Of one input, `(c, h, w)` or `(c,)`.
    """
    sizes = [prod(spec.stored[name]) for name in spec.names]
    start = {name: sum(sizes[:i]) for i, name in enumerate(spec.names)}
    channels, height, width = (*shape, 1, 1)[:3]
    layers: list[_Layer] = []
    omegas: set[float] = set()
    for name, part in module.named_children():
        if isinstance(part, nn.Conv2d | nn.Linear):
            size = layers[-1].result if layers else (channels, height, width)
            places = start[f"{name}.weight"], start[f"{name}.bias"]
            layers.append(_convolution(part, size, *places))
        elif not isinstance(part, nn.Flatten):
            if not layers or not (more := _follow(layers[-1], part)):
                return None
            layers[-1] = more
            omegas |= {part.omega} if isinstance(part, Sine) else set()
    if not layers or len(omegas) > 1:
        return None
    return Program(tuple(layers), sum(sizes), max(omegas, default=1.0))


def fits(*tensors: Tensor) -> bool:
    """Whether native code can read these tensors: float32 or classes, on a CPU."""
    numbers = [tensor for tensor in tensors if tensor.dtype != torch.int64]
    is_here = all(tensor.is_cpu for tensor in tensors)
    return is_here and all(map(native.has_memory, numbers)) and can_build()


def knows(rule: UpdateRule) -> bool:
    """Whether native code has this rule: SGD and Adam, without weight decay."""
    return isinstance(rule, SGDRule | AdamRule) and not rule.weight_decay.any()


def train(
    program: Program,
    rule: UpdateRule,
    problem: Problem,
    index: Tensor,
    keep: Tensor | None,
    rates: Sequence[float],
    weights: Tensor,
    slots: dict[str, Tensor],
) -> None:
    """Takes `k` steps, in place.

    Args:
        program: The networks' layers.
        rule: `AdamRule` or `SGDRule`, without weight decay.
        problem: What they learn.
        index: Samples of each step, `(n, k, b)`.
        keep: Dropout factors of each step, all layers' one after another, `(n, k, -1)`; or None.
        rates: Multipliers of the learning rate, one a step.
        weights: `(n, d)`, written to.
        slots: The rule's state, written to.
    """
    n, steps, batch = index.shape
    constants = _constants(rule)
    held = (
        index,
        keep,
        constants.lr.float().expand(n).contiguous(),
        torch.tensor(rates),
        problem.l2,
        problem.masks,
    )
    moments = slots["exp_avg" if constants.is_adam else "momentum"]
    training = _Training(
        steps,
        int(slots["step"]) if constants.is_adam else 0,
        0 if keep is None else keep.shape[-1],
        *map(_pointer, held),
        *astuple(constants)[1:],
        *map(_pointer, (weights, moments, slots.get("exp_avg_sq"))),
    )
    has_own = problem.inputs.dim() > len(problem.sample_shape) + 1
    task, kept = _task(program, n, batch, problem.inputs, problem.targets, has_own)
    library().nfn_train(ctypes.byref(task), ctypes.byref(training))
    del kept
    if constants.is_adam:
        slots["step"] += steps


def evaluate(program: Program, weights: Tensor, images: Tensor) -> Tensor:
    """Of all networks `(n, d)` for the same images: `(n, m, classes)`."""
    n, m = len(weights), len(images)
    weights = weights.contiguous()
    outputs = weights.new_empty(n, m, program.layers[-1].out)
    task, kept = _task(program, n, min(m, _SAMPLES_AT_ONCE), images)
    library().nfn_evaluate(
        ctypes.byref(task),
        ctypes.c_void_p(weights.data_ptr()),
        ctypes.c_int64(m),
        ctypes.c_void_p(outputs.data_ptr()),
    )
    del kept
    return outputs


@dataclass(frozen=True)
class _Constants:
    """Of a rule."""

    lr: Tensor
    is_adam: bool
    beta: float
    beta_square: float
    eps: float


def _constants(rule: UpdateRule) -> _Constants:
    if isinstance(rule, AdamRule):
        return _Constants(rule.lr, True, *rule.betas, rule.eps)
    assert isinstance(rule, SGDRule)
    return _Constants(rule.lr, False, float(rule.momentum), 0.0, 0.0)


def _convolution(
    part: nn.Conv2d | nn.Linear, size: tuple[int, int, int], weight: int, bias: int
) -> _Layer:
    if isinstance(part, nn.Linear):
        _, height, width = size
        return _Layer(*size, height, width, 1, 0, part.out_features, 0, 0, weight, bias)
    height, width = part.kernel_size
    stride, padding = part.stride[0], int(part.padding[0])
    return _Layer(*size, height, width, stride, padding, part.out_channels, 0, 0, weight, bias)


def _follow(layer: _Layer, part: nn.Module) -> _Layer | None:
    """A layer with what comes after its sum; None if there is no native code for it."""
    if layer.pooled:
        return None
    if isinstance(part, nn.AdaptiveAvgPool2d):
        return replace(layer, pooled=1)
    kinds = {nn.ReLU: 1, nn.Tanh: 2, Sine: 3}
    if layer.activation or type(part) not in kinds:
        return None
    return replace(layer, activation=kinds[type(part)])


class _Task(ctypes.Structure):
    """`Task` of `train.cpp`."""

    _fields_ = (
        ("layers", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("depth", "networks", "parameters")),
        *((name, ctypes.c_int64) for name in ("batch", "threads")),
        ("omega", ctypes.c_float),
        ("inputs", ctypes.c_void_p),
        ("inputs_stride", ctypes.c_int64),
        ("targets", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("targets_stride", "has_classes")),
    )


class _Training(ctypes.Structure):
    """`Training` of `train.cpp`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "first_step", "keep_size")),
        *((name, ctypes.c_void_p) for name in ("index", "keep", "lr", "rates", "l2", "masks")),
        ("is_adam", ctypes.c_int64),
        *((name, ctypes.c_float) for name in ("beta", "beta_square", "eps")),
        *((name, ctypes.c_void_p) for name in ("weights", "moments", "squares")),
    )


def _task(
    program: Program,
    networks: int,
    batch: int,
    inputs: Tensor,
    targets: Tensor | None = None,
    has_own_inputs: bool = False,
) -> tuple[_Task, Any]:
    """The structure, and what must be kept while it is used."""
    inputs = inputs.contiguous()
    targets = None if targets is None else targets.contiguous()
    has_classes = targets is not None and targets.dtype == torch.int64
    layers = torch.tensor([astuple(layer) for layer in program.layers])
    task = _Task(
        _pointer(layers),
        len(program.layers),
        networks,
        program.parameters,
        batch,
        torch.get_num_threads(),
        program.omega,
        _pointer(inputs),
        inputs[0].numel() if has_own_inputs else 0,
        _pointer(targets),
        0 if targets is None or has_classes else targets[0].numel(),
        has_classes,
    )
    return task, (layers, inputs, targets)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
