"""Whatever tensors a step finds, native code and torch agree, or both refuse and change nothing."""

import re
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nfn_optim import NFNOptimizer, load_rule
from nfn_optim.native import step as native_step
from nfn_optim.testing import chain_spec, chain_specs

pytestmark = pytest.mark.usefixtures("native_step")

RULE = load_rule("small").requires_grad_(False)
SPEC = chain_spec([4, 8, 5])


def dense(x):
    return x.contiguous()


def reversed_axes(x):
    """The same numbers, the last axis slowest in memory."""
    order = tuple(reversed(range(x.dim())))
    return x.permute(order).contiguous().permute(order)


def part_of_more(x):
    """The same numbers as every other entry of a larger tensor, from the second on."""
    larger = x.new_zeros(2 * x.numel() + 3)
    larger[2 : 2 + 2 * x.numel() : 2] = x.flatten()
    strides = [2 * stride for stride in x.contiguous().stride()]
    return larger.as_strided(x.shape, strides, 2)


def negated(x):
    return torch._neg_view(-x)


LAYOUTS = [dense, reversed_axes, part_of_more, negated]


def expanded(x):
    return x.flatten()[0].expand(x.shape)


def set_gradient(param, grad):
    param.grad = None
    if hasattr(param, "grad_dtype"):
        param.grad_dtype = grad.dtype
    elif grad.dtype != param.dtype:
        grad = grad.to(param.dtype)
    param.grad = grad


class Net(nn.Module):
    """Parameters of a spec, two that it does not describe, and one without entries."""

    def __init__(self, spec, layouts):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = {**spec.stored, "table": (5, 3), "scalar": (), "nothing": (0, 3)}
        for (name, shape), layout in zip(shapes.items(), layouts, strict=False):
            data = torch.randn(shape, generator=generator)
            self.register_parameter(name.replace(".", "/"), nn.Parameter(layout(data)))


def set_gradients(net, layouts, dtypes, seed):
    generator = torch.Generator().manual_seed(seed)
    for param, layout, dtype in zip(net.parameters(), layouts, dtypes, strict=False):
        grad = (0.1 * torch.randn(param.shape, generator=generator)).to(dtype)
        set_gradient(param, layout(grad) if grad.numel() else grad)


def optimizer_of(net, spec, fused):
    named = [(name.replace("/", "."), param) for name, param in net.named_parameters()]
    return NFNOptimizer(named, spec=spec, checkpoint=RULE, fused=fused)


def everything(net, optimizer):
    """Copies of all parameters and slots."""
    slots = [
        {k: t.clone() for k, t in optimizer.state[p].items()} if p in optimizer.state else None
        for p in net.parameters()
    ]
    return [p.detach().clone() for p in net.parameters()], slots


def step(net, optimizer):
    """What the step raised, if it did; then nothing has changed."""
    params, slots = everything(net, optimizer)
    try:
        optimizer.step()
    except (ValueError, RuntimeError) as error:
        unchanged = everything(net, optimizer)
        assert all(map(same, unchanged[0], params))
        for before, after in zip(slots, unchanged[1], strict=True):
            assert (before is None) == (after is None)
            for key in before or {}:
                assert same(before[key], after[key])
        return type(error), str(error)
    return None


def same(a, b):
    return a.shape == b.shape and torch.equal(a, b)


def assert_close(ours, theirs, start, tolerance):
    for a, b, before in zip(ours.parameters(), theirs.parameters(), start, strict=True):
        error = (a - b).norm()
        assert error <= tolerance * (b - before).norm() + 1e-6


def swapped(net, optimizer, i, j):
    first, second = list(net.parameters())[i], list(net.parameters())[j]
    optimizer.state[first] = deepcopy(optimizer.state[second])


def other_slot(net, optimizer, i, change):
    """One slot of a parameter is replaced."""
    param = list(net.parameters())[i]
    for key in [k for k in optimizer.state[param] if k not in ("step", "num_steps")][:1]:
        optimizer.state[param][key] = change(optimizer.state[param][key])


def without_slot(net, optimizer, i):
    optimizer.state[list(net.parameters())[i]].pop("step", None)


def other_shape(net, optimizer, i, change):
    param = list(net.parameters())[i]
    param.data = change(param.data)
    set_gradient(param, torch.ones_like(param))


def stale_gradient(net, optimizer, i):
    param = list(net.parameters())[i]
    param.data = longer(param.data)


def longer(x):
    return torch.cat([x.reshape(-1), x.reshape(-1), x.new_zeros(1)])


def transposed(x):
    return x.mT.contiguous() if x.dim() > 1 else longer(x)


CHANGES = [
    st.tuples(st.just(swapped), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(
        st.just(other_slot),
        st.integers(0, 3),
        st.sampled_from([longer, transposed, torch.Tensor.double, torch.Tensor.long, *LAYOUTS[:3]]),
    ),
    st.tuples(st.just(without_slot), st.integers(0, 3)),
    st.tuples(st.just(other_shape), st.integers(0, 3), st.sampled_from([longer, transposed])),
    st.tuples(st.just(stale_gradient), st.integers(0, 3)),
    st.just((lambda net, optimizer: None,)),
]


@given(
    spec=chain_specs(2),
    layouts=st.lists(st.sampled_from(LAYOUTS), min_size=7, max_size=7),
    grads=st.lists(st.sampled_from([*LAYOUTS, expanded]), min_size=7, max_size=7),
    dtypes=st.lists(
        st.sampled_from([torch.float32, torch.float64, torch.bfloat16]), min_size=7, max_size=7
    ),
    change=st.one_of(CHANGES),
)
@settings(max_examples=80, deadline=None)
def test_native_code_and_torch_agree_or_both_refuse(spec, layouts, grads, dtypes, change):
    ours, theirs = Net(spec, layouts), Net(spec, layouts)
    fused, plain = optimizer_of(ours, spec, True), optimizer_of(theirs, spec, False)
    for net, optimizer in ((ours, fused), (theirs, plain)):
        set_gradients(net, grads, dtypes, 1)
        assert step(net, optimizer) is None
        set_gradients(net, grads, dtypes, 2)
        alter, *arguments = change
        alter(net, optimizer, *arguments)
    start = [p.detach().clone() for p in theirs.parameters()]
    found, expected = step(ours, fused), step(theirs, plain)
    assert found == expected
    if found is None:
        # The polar factor of equal numbers makes much of how they were rounded.
        assert_close(ours, theirs, start, 1e-2 if expanded in grads else 1e-3)
    else:
        assert re.search("parameter '|gradient of '", found[1])


@pytest.fixture
def taken(monkeypatch):
    """Native steps that are taken."""
    steps, original = [], native_step.Step.take

    def take(step, rates):
        steps.append(step)
        return original(step, rates)

    monkeypatch.setattr(native_step.Step, "take", take)
    return steps


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_gradients_of_another_type_are_converted(taken, dtype):
    net = Net(SPEC, LAYOUTS[:1] * 7)
    optimizer = optimizer_of(net, SPEC, True)
    set_gradients(net, LAYOUTS[:1] * 7, [dtype] * 7, 1)
    if net.table.grad.dtype != dtype:
        pytest.skip("this torch has gradients of the parameter's type only")
    optimizer.step()
    assert len(taken) == 1
    assert all(p.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("fused", [True, False])
def test_double_gradients_too_large_for_single_ones_are_skipped(fused):
    net = Net(SPEC, LAYOUTS[:1] * 7)
    optimizer = optimizer_of(net, SPEC, fused)
    set_gradients(net, LAYOUTS[:1] * 7, [torch.float64] * 7, 1)
    if net.table.grad.dtype != torch.float64:
        pytest.skip("this torch has gradients of the parameter's type only")
    net.table.grad.fill_(1e100)
    with pytest.warns(UserWarning, match="skipped a step"):
        optimizer.step()
    assert not optimizer.state
