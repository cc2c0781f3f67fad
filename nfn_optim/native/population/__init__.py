"""Training of populations in native code: the same steps to rounding, and faster on a CPU.

Networks are trained one after another, each for many steps, so that all it needs stays in the
cache. Shape legend: `n` networks of `d` parameters, `m` samples, `b` of them a step, `k` steps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...rules import AdamRule, SGDRule, UpdateRule
from .. import Expected, Library, are_plain, check, pointer
from ._modules import ACTIVATIONS as ACTIVATIONS
from ._modules import is_plain as is_plain
from ._modules import read_layers as read_layers
from ._program import Layer as Layer
from ._program import Program as Program
from ._samples import Samples as Samples
from ._samples import read
from ._structures import Task, Training, optional

LIBRARY = Library(Path(str(files(__package__))) / "train.cpp")

_SAMPLES_AT_ONCE = 32  # when networks are evaluated
_DROPOUT = "dropout factors, (n, b, c) of every activation"


def can_evaluate(weights: Tensor, images: Tensor) -> bool:
    """Whether native code can read these tensors, float32 on a CPU, and can be had."""
    numbers = [weights, images]
    is_float = {t.dtype for t in numbers} == {torch.float32}
    return is_float and are_plain(numbers) and LIBRARY.can_load()


def can_train(rule: UpdateRule, samples: Samples, weights: Tensor) -> bool:
    """Whether there is native code for this rule and these tensors, and it can be had."""
    has_type = samples.targets.dtype in (torch.int64, torch.float32)
    can_read = has_type and are_plain([samples.targets])
    return _knows(rule) and can_read and can_evaluate(weights, samples.inputs)


def train(
    program: Program,
    rule: UpdateRule,
    samples: Samples,
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
        samples: What they learn from.
        index: Samples of each step, `(n, k, b)`.
        keep: Dropout factors of each step, all layers' one after another, `(n, k, -1)`; or None.
        rates: Multipliers of the learning rate, one a step.
        weights: `(n, d)`, dense, written to.
        slots: The rule's state, likewise.

    Raises:
        IndexError: If a sample is drawn that there is not, or it has a class without an output.
        ValueError: If a tensor does not fit layers and steps; then nothing has changed.
    """
    n, (steps, batch), d = len(weights), index.shape[1:], program.parameters
    constants = _constants(rule)
    written = {"weights": weights, **{name: slots[name] for name in constants.moments}}
    check(list(written.values()), [Expected(name, (n, d), is_written=True) for name in written])
    inputs, targets = samples.read(program, n, index)
    factors = batch * program.num_factors
    held = (
        read("drawn samples", index, (n, steps, batch), torch.int64),
        None if keep is None else read(_DROPOUT, keep, (n, steps, factors)),
        read("learning rates", constants.lr, (n,)),
        read("factors of the rates", torch.tensor(rates, device="cpu"), (steps,)),
        None if samples.l2 is None else read("l2", samples.l2, (n,)),
        None if samples.masks is None else read("masks", samples.masks, (n, d)),
    )
    training = Training(
        steps,
        int(slots["step"]) if constants.is_adam else 0,
        0 if keep is None else factors,
        *map(optional, held),
        *(constants.is_adam, constants.beta, constants.beta_square, constants.eps),
        *map(pointer, written.values()),
    )
    task = Task.of(program, n, batch, inputs, targets)
    LIBRARY.call("nfn_train", ctypes.byref(task), ctypes.byref(training))
    if constants.is_adam:
        slots["step"] += steps


def evaluate(program: Program, weights: Tensor, images: Tensor) -> Tensor:
    """Of all networks `(n, d)` for the same images `(m, *shape)`: `(n, m, out)`.

    Gradients reach the images, not the weights, and have no gradients themselves.

    Raises:
        ValueError: If weights or images are not the network's.
    """
    outputs: Tensor = _Evaluation.apply(program, weights.detach(), images)
    return outputs


class _Evaluation(torch.autograd.Function):
    """Outputs of networks, and gradients of the images that all networks see."""

    @staticmethod
    def forward(program: Program, weights: Tensor, images: Tensor) -> Tensor:
        return _run_all("nfn_evaluate", program, weights, images, (program.out,))

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
        shape = ctx.program.shape
        grads = _run_all("nfn_trace_back", ctx.program, weights, images, shape, adjoint)
        return None, None, grads.sum(0)


def _run_all(
    name: str,
    program: Program,
    weights: Tensor,
    images: Tensor,
    result: tuple[int, ...],
    adjoint: Tensor | None = None,
) -> Tensor:
    """Calls a function of `train.cpp`, which makes a `result` of each network for each image."""
    n, m = len(weights), len(images)
    rows = read("weights", weights, (n, program.parameters))
    inputs = read("images", images, (m, *program.shape))
    given = [] if adjoint is None else [read("gradients", adjoint, (n, m, program.out))]
    made = torch.empty(n, m, *result, dtype=torch.float32, device="cpu")
    task = Task.of(program, n, min(m, _SAMPLES_AT_ONCE), inputs, None)
    pointers = [ctypes.c_void_p(pointer(tensor)) for tensor in (*given, made)]
    LIBRARY.call(
        name, ctypes.byref(task), ctypes.c_void_p(pointer(rows)), ctypes.c_int64(m), *pointers
    )
    return made


@dataclass(frozen=True)
class _Constants:
    """Of a rule, as `Training` has them, and which of its slots are moments."""

    moments: tuple[str, ...]
    lr: Tensor
    is_adam: bool
    beta: float
    beta_square: float
    eps: float


def _constants(rule: UpdateRule) -> _Constants:
    if isinstance(rule, AdamRule):
        return _Constants(("exp_avg", "exp_avg_sq"), rule.lr, True, *rule.betas, rule.eps)
    assert isinstance(rule, SGDRule)
    return _Constants(("momentum",), rule.lr, False, float(rule.momentum), 0.0, 0.0)


def _knows(rule: UpdateRule) -> bool:
    """Whether native code has this rule: SGD and Adam, without weight decay."""
    if type(rule) is SGDRule:
        return rule.momentum.dim() == 0 and not rule.weight_decay.any()
    return type(rule) is AdamRule and not rule.weight_decay.any()
