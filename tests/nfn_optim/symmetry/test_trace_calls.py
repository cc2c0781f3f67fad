"""Calls of functions: unusual ones pin neurons, and a rule's own mistakes are raised."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nfn_optim import NetworkSpec
from nfn_optim.symmetry.tracer import _functions
from nfn_optim.symmetry.tracer._context import Context
from nfn_optim.symmetry.tracer._parameters import Parameters
from nfn_optim.symmetry.tracer._populations import Populations
from nfn_optim.symmetry.tracer._value import (
    NUMBER,
    Axis,
    ParameterRef,
    Several,
    Size,
    Sizes,
    Value,
)


class Between(nn.Module):
    """Two layers, and a function of the hidden neurons."""

    def __init__(self, function):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.gain = nn.Parameter(torch.ones(4))
        self.function = function

    def forward(self, x):
        return self.last(self.function(self, self.first(x)))


@pytest.mark.parametrize(
    "mistake", [TypeError, AttributeError, KeyError, IndexError, ValueError, ZeroDivisionError]
)
def test_a_mistake_in_a_rule_is_raised(monkeypatch, mistake):
    def rule(ctx, x):
        raise mistake("mistake in a rule")

    monkeypatch.setitem(_functions.RULES, "squeeze", rule)
    with pytest.raises(mistake, match="mistake in a rule"):
        NetworkSpec.from_module(Between(lambda net, x: x.squeeze()))


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: torch.flatten(input=x, start_dim=1),
        lambda net, x: F.layer_norm(x, x.shape[1:], net.gain),
        lambda net, x: x - x.mean(x.dim() - 1, keepdim=True),
        lambda net, x: torch.cat(x.chunk(2, -1), -1),
        lambda net, x: x.unsqueeze(x.dim()).squeeze(-1),
        lambda net, x: F.conv1d(x[None], net.gain[:, None, None], groups=x.shape[-1])[0],
    ],
    ids=["name of the input", "sliced", "dim", "chunks", "unsqueeze", "groups"],
)
def test_an_unusual_call_pins_the_neurons(function):
    spec = NetworkSpec.from_module(Between(function))
    hidden = spec.axes["first.weight"][0]
    assert hidden in spec.pinned
    assert spec.pinned.issuperset(spec.axes.get("gain", ()))


def context():
    """A context with a few parameters, and tensors that run over neurons."""
    populations = Populations()
    shapes = {"vector": (4,), "matrix": (4, 3), "kernel": (4, 3, 2), "number": ()}
    nodes = [populations.new(name, size) for name, size in (("a", 4), ("b", 3), ("one", 1))]
    return Context(populations, Parameters(populations, shapes)), nodes


def arguments():
    """What forward code may pass to a function."""
    axes = st.dictionaries(
        st.integers(-3, -1),
        st.builds(Axis, st.integers(0, 2), before=st.booleans(), after=st.booleans()),
        max_size=2,
    )
    tensors = st.builds(Value, axes, st.one_of(st.none(), st.integers(3, 4)))
    sizes = st.builds(Size, st.booleans(), st.integers(1, 3))
    names = ("vector", "matrix", "kernel", "number")
    plain = st.sampled_from(
        [None, True, 0, 1, -1, 7, 0.5, "shape", "T", ..., torch.float32, NUMBER]
    )
    single = st.one_of(
        tensors,
        plain,
        sizes,
        st.builds(Sizes, tensors, st.integers(0, 2)),
        st.builds(Several, tensors),
        st.builds(ParameterRef, st.sampled_from(names)),
    )
    several = st.lists(single, max_size=3)
    return st.one_of(tensors, single, several, several.map(tuple), st.builds(slice, single, single))


NAMES = st.sampled_from(["dim", "keepdim", "start_dim", "groups", "weight", "output_size"])


@given(
    st.sampled_from(sorted(_functions.RULES)),
    st.lists(arguments(), max_size=4),
    st.dictionaries(NAMES, arguments(), max_size=1),
)
@settings(max_examples=400, deadline=None)
def test_no_arguments_break_a_rule(name, args, kwargs):
    ctx, _ = context()
    _functions.call(ctx, name, tuple(args), kwargs)
