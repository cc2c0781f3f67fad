"""A step of `NFNRule` in native code, in place: the same to rounding, and faster on a CPU.

It reads and writes what `NFNRule.forward` does, and is tested against it.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...rules import NFNRule, Params, is_narrow
from ...symmetry import NetworkSpec
from .. import dense, fit, pointer, pointers, table
from ._layout import NONE as NONE
from ._layout import SLOTS as SLOTS
from ._layout import Layout as Layout
from ._layout import layout_of as layout_of
from ._library import LIBRARY
from ._library import definitions as definitions
from ._rule import settings_of as settings_of
from ._rule import weights_in as weights_in
from ._rule import weights_of as weights_of

__all__ = ["LIBRARY", "Step", "prepare"]  # the other names are for the folders beside


@dataclass(frozen=True)
class Step:
    """A step that is ready to be taken: its tensors have passed the gate.

    Attributes:
        rule: Whose step it is.
        layout: What the tensors are.
        weights: The meta-parameters.
        held: Each parameter's value, gradient and slots, see `Layout.tensors`.
        order: Parameters in the order in which they were given.
    """

    rule: NFNRule
    layout: Layout
    weights: list[Tensor]
    held: list[Tensor]
    order: list[str]

    def take(self, rates: Sequence[tuple[float, float]]) -> Tensor:
        """Takes the step, in place: parameters become `keep * param + rate * delta`.

        Args:
            rates: `(rate, keep)` of each parameter, in the order in which they were given.

        Returns:
            The norm of each parameter's `delta`, likewise `(parameters)`.
        """
        layout, weights = self.layout, list(map(dense, self.weights))
        laid = layout.laid(self.held)
        by_name = dict(zip(self.order, rates, strict=True))
        factors = [factor for name in layout.names for factor in by_name[name]]
        norms = torch.empty(len(layout.names), dtype=torch.float32, device="cpu")
        LIBRARY.call(
            "nfn_step",
            ctypes.c_long(len(layout.names)),
            table(layout.numbers),
            table(layout.fans),
            ctypes.c_long(len(layout.sizes)),
            table(layout.sizes),
            table(pointers(laid)),
            table(array("d", factors)),
            table(pointers(weights)),
            table(array("f", settings_of(self.rule))),
            ctypes.c_int(self.rule.config.hidden),
            ctypes.c_int(torch.get_num_threads()),
            ctypes.c_void_p(pointer(norms)),
        )
        layout.write_back(laid, self.held)
        torch.autograd.graph.increment_version(self.held[:: 2 + len(SLOTS)])
        if list(layout.names) == self.order:
            return norms
        places = {name: i for i, name in enumerate(layout.names)}
        return norms[[places[name] for name in self.order]]


def prepare(
    rule: NFNRule,
    params: Params,
    grads: Params,
    slots: Mapping[str, dict[str, Tensor]],
    spec: NetworkSpec,
) -> Step | None:
    """A native step, if rule and tensors are of the kind that native code knows.

    Args:
        rule: Whose step it is.
        params: Tensors by name, as the spec stores them.
        grads: Their gradients.
        slots: Their state, which is written to.
        spec: The network's spec. It may have other parameters, too, if slots are those of a rule
            that has learned nothing.

    Returns:
        None where the step has to be torch's, or nobody's: for other rules than `NFNRule` itself,
        while something is compiling, and where a tensor is not as `Layout.tensors` says, or one
        that is written shares memory with another one.
    """
    if type(rule) is not NFNRule or torch.compiler.is_compiling():
        return None
    reads_all = not all(map(is_narrow, slots.values()))
    if not reads_all and rule.reads_all:
        return None
    layout = layout_of(spec, rule.direction, reads_all)
    layout = layout if reads_all else layout.part(params)
    weights = weights_in(rule)
    held = layout.held(params, grads, slots)
    if not fit([*held, *weights], [*layout.tensors, *weights_of(rule.config.hidden)]):
        return None
    return Step(rule, layout, weights, held, list(params))
