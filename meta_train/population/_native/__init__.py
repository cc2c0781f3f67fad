"""Training of populations in native code: the same steps to rounding, and faster on a CPU.

Networks are trained one after another, each for many steps, so that all it needs stays in the
cache. Shape legend: `n` networks of `d` parameters, `m` samples, `b` of them a step, `k` steps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nfn_optim import AdamRule, SGDRule, UpdateRule
from nfn_optim import native as native

from .._problem import Classification, Problem, Regression
from ._program import Program as Program
from ._program import read as read
from ._structures import Training, as_task, pointer

_SAMPLES_AT_ONCE = 32  # when networks are measured


library, can_build = native.loaders(Path(str(files(__package__))) / "train.cpp")


def fits(*numbers: Tensor) -> bool:
    """Whether native code can read these tensors, float32 on a CPU, and can be had."""
    return all(map(native.has_memory, numbers)) and can_build()


def can_train(rule: UpdateRule, problem: Problem, weights: Tensor) -> bool:
    """Whether there is native code for this rule, this loss and these tensors."""
    inputs, targets = problem.inputs, problem.targets
    if isinstance(problem, Classification):
        return knows(rule) and targets.is_cpu and fits(weights, inputs)
    has_each = isinstance(problem, Regression) and len(targets) == len(weights)
    return has_each and knows(rule) and fits(weights, inputs, targets)


def knows(rule: UpdateRule) -> bool:
    """Whether native code has this rule: SGD and Adam, without weight decay."""
    if type(rule) is SGDRule:
        return rule.momentum.dim() == 0 and not rule.weight_decay.any()
    return type(rule) is AdamRule and not rule.weight_decay.any()


def copy(tensor: Tensor) -> Tensor:
    """To be written to."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


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
        weights: `(n, d)`, a `copy`, written to.
        slots: The rule's state, likewise.

    Raises:
        IndexError: If a sample is drawn that there is not, or it has a class without an output.
        ValueError: If weights, values or dropout factors are not those of the layers.
    """
    n, steps, batch = len(weights), *index.shape[1:]
    _check_weights(program, weights)
    _check(program, problem, index, keep)
    constants = _constants(rule)
    held = (
        index.to("cpu", torch.int64).expand(n, -1, -1).contiguous(),
        None if keep is None else _numbers(keep, n, steps, -1),
        _numbers(constants.lr, n),
        torch.tensor(rates, dtype=torch.float32, device="cpu"),
        None if problem.l2 is None else _numbers(problem.l2, n),
        None if problem.masks is None else _numbers(problem.masks, *weights.shape),
    )
    moments = slots["exp_avg" if constants.is_adam else "momentum"]
    training = Training(
        steps,
        int(slots["step"]) if constants.is_adam else 0,
        0 if keep is None else keep.shape[-1],
        *map(pointer, held),
        *astuple(constants)[1:],
        *map(pointer, (weights, moments, slots.get("exp_avg_sq"))),
    )
    task, kept = as_task(program, n, batch, problem.inputs, problem.targets, problem.has_own_inputs)
    library().nfn_train(ctypes.byref(task), ctypes.byref(training))
    del kept
    if constants.is_adam:
        slots["step"] += steps


def evaluate(program: Program, weights: Tensor, images: Tensor) -> Tensor:
    """Of all networks `(n, d)` for the same images: `(n, m, classes)`.

    Gradients reach the images, not the weights, and have no gradients themselves.
    """
    _check_weights(program, weights)
    outputs: Tensor = _Evaluation.apply(program, weights.detach(), images)
    return outputs


class _Evaluation(torch.autograd.Function):
    """Outputs of networks, and what they say of the images that all networks see."""

    @staticmethod
    def forward(program: Program, weights: Tensor, images: Tensor) -> Tensor:
        outputs = weights.new_empty(len(weights), len(images), program.layers[-1].out)
        _run_all("nfn_evaluate", program, weights, images, outputs)
        return outputs

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.program, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, adjoint: Tensor) -> tuple[None, None, Tensor]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "native code has no second derivatives: leave out create_graph=True, or set "
                "NFN_NATIVE=0."
            )
        weights, images = ctx.saved_tensors
        grads = images.new_empty(len(weights), *images.shape)
        _run_all("nfn_trace_back", ctx.program, weights, images, adjoint.contiguous(), grads)
        return None, None, grads.sum(0)


def _run_all(
    name: str, program: Program, weights: Tensor, images: Tensor, *tensors: Tensor
) -> None:
    """Calls a function of `train.cpp`; `tensors` are contiguous, and the last is written to."""
    weights = weights.contiguous()
    task, kept = as_task(program, len(weights), min(len(images), _SAMPLES_AT_ONCE), images)
    pointers = [ctypes.c_void_p(pointer(tensor)) for tensor in tensors]
    count = ctypes.c_int64(len(images))
    getattr(library(), name)(
        ctypes.byref(task), ctypes.c_void_p(pointer(weights)), count, *pointers
    )
    del kept


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


def _check_weights(program: Program, weights: Tensor) -> None:
    if weights.shape[1:] != (program.parameters,):
        raise ValueError(
            f"weights have the shape {tuple(weights.shape)}, but a network has "
            f"{program.parameters} parameters. Pass a row of them for each network."
        )


def _check(program: Program, problem: Problem, index: Tensor, keep: Tensor | None) -> None:
    """Native code reads what it is told to, so that it must be there."""
    out, targets = program.layers[-1].out, problem.targets
    _check_range(index, problem.num_samples, "samples")
    if isinstance(problem, Classification):
        _check_range(targets, out, "classes")
    elif targets.shape[-1] != out:
        raise ValueError(f"targets have {targets.shape[-1]} values each, the network {out}.")
    factors = index.shape[-1] * sum(layer.out for layer in program.layers if layer.activation)
    if keep is not None and keep.shape[-1] != factors:
        raise ValueError(
            f"a step has {keep.shape[-1]} dropout factors a network, but its activations have "
            f"{factors}. Draw factors (n, b, c) for every activation, or none."
        )


def _check_range(numbers: Tensor, count: int, what: str) -> None:
    low, high = map(int, numbers.aminmax())
    if low < 0 or high >= count:
        raise IndexError(f"there are {count} {what}; got {low if low < 0 else high}.")


def _numbers(tensor: Tensor, *shape: int) -> Tensor:
    """As native code reads them."""
    return tensor.to("cpu", torch.float32).expand(shape).contiguous()
