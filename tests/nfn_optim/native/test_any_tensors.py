"""Whatever tensors a step finds, native code and torch agree, or both refuse and change nothing.

Networks take some steps while something is done to their tensors in between. `NFN_FUZZ=20000` tries
as many networks, and others every time.
"""

import os
import re
from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nfn_optim import NFNOptimizer, load_rule
from nfn_optim.native import has_memory
from nfn_optim.native import step as native_step
from nfn_optim.testing import chain_spec, chain_specs

pytestmark = pytest.mark.usefixtures("native_step")

EXAMPLES = int(os.environ.get("NFN_FUZZ", 150))
RULE = load_rule("small").requires_grad_(False)
SPEC = chain_spec([4, 8, 5])
OTHERS = {"table": (5, 3), "kernels": (3, 2, 2, 2), "scalar": (), "nothing": (0, 3)}


def dense(x):
    return x.contiguous()


def reversed_axes(x):
    """The same numbers, the last axis slowest in memory."""
    order = tuple(reversed(range(x.dim())))
    return x.permute(order).contiguous().permute(order)


def channels_last(x):
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x


def part_of_more(x):
    """The same numbers as every other entry of a larger tensor, from the second on."""
    larger = x.new_zeros(2 * x.numel() + 3)
    larger[2 : 2 + 2 * x.numel() : 2] = x.flatten()
    strides = [2 * stride for stride in x.contiguous().stride()]
    return larger.as_strided(x.shape, strides, 2)


def negated(x):
    return torch._neg_view(-x)


def misaligned(x):
    """The same numbers, one byte behind where numbers of their size begin."""
    if not x.numel():
        return x
    there = torch.frombuffer(bytearray(x.nbytes + 1), dtype=x.dtype, offset=1).view(x.shape)
    return there.copy_(x)


LAYOUTS = [dense, reversed_axes, channels_last, part_of_more, negated, misaligned]


def expanded(x):
    return x.flatten()[0].expand(x.shape)


def overlapping(x):
    """Entries in fewer places than there are entries, with no stride of zero."""
    return x.flatten()[:1].expand(x.numel() + 9).contiguous().as_strided(x.shape, (1,) * x.dim())


def freed(x):
    x = x.clone()
    x.untyped_storage().resize_(0)
    return x


def freed_with_gaps(x):
    x = part_of_more(x)
    x.untyped_storage().resize_(x.itemsize)
    return x


def standing_for_zeros(x):
    return torch._efficientzerotensor(x.shape, dtype=x.dtype)


def longer(x):
    return torch.cat([x.reshape(-1), x.reshape(-1), x.new_zeros(1)])


def transposed(x):
    return x.mT.contiguous() if x.dim() > 1 else longer(x)


GRADIENTS = [*LAYOUTS, expanded, overlapping, standing_for_zeros]
SLOTS = [kind for kind in LAYOUTS if kind is not negated]  # torch makes no new_tensor of those
SLOTS += [expanded, overlapping, longer, transposed, torch.Tensor.double, torch.Tensor.long]
SLOTS += [freed, freed_with_gaps, standing_for_zeros]
VALUES = [*LAYOUTS, expanded, overlapping, longer, transposed, freed, freed_with_gaps]
VALUES += [torch.Tensor.double, torch.Tensor.bfloat16, torch.Tensor.cfloat]


def set_gradient(param, grad):
    param.grad = None
    if hasattr(param, "grad_dtype"):
        param.grad_dtype = grad.dtype
    elif grad.dtype != param.dtype:
        grad = grad.to(param.dtype)
    param.grad = grad


class Net(nn.Module):
    """Parameters of a spec, some that it does not describe, and one without entries."""

    def __init__(self, spec, layouts, dtypes):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = {**spec.stored, **OTHERS}
        for (name, shape), layout, dtype in zip(shapes.items(), layouts, dtypes, strict=False):
            kind = torch.float32 if dtype.is_complex and name in spec.stored else dtype
            data = torch.randn(shape, generator=generator, dtype=torch.float32).to(kind)
            self.register_parameter(name.replace(".", "/"), nn.Parameter(layout(data)))


def set_gradients(net, layouts, dtypes, seed):
    """None for a type is no gradient."""
    generator = torch.Generator().manual_seed(seed)
    for param, layout, dtype in zip(net.parameters(), layouts, dtypes, strict=False):
        grad = 0.1 * torch.randn(param.shape, generator=generator, dtype=torch.float32)
        if dtype is None:
            param.grad = None
        elif param.is_meta:
            param.grad = torch.empty_like(param)
        else:
            grad = grad.to(torch.promote_types(dtype, param.dtype) if param.is_complex() else dtype)
            set_gradient(param, layout(grad) if grad.numel() else grad)


def optimizer_of(net, spec, fused):
    named = [(name.replace("/", "."), param) for name, param in net.named_parameters()]
    return NFNOptimizer(named, spec=spec, checkpoint=RULE, fused=fused)


def copy_of(x):
    """None where there is nothing to read."""
    return x.detach().clone() if has_memory(x) else None


def everything(net, optimizer):
    """Copies of all parameters and slots."""
    state = [optimizer.state.get(param, {}) for param in net.parameters()]
    slots = [{key: copy_of(slot) for key, slot in slots.items()} for slots in state]
    return list(map(copy_of, net.parameters())), slots


def is_whole(params, slots=()):
    """Whether there was something to read everywhere."""
    return all(x is not None for x in (*params, *[x for of_one in slots for x in of_one.values()]))


def step(net, optimizer):
    """What the step raised, if it did; then nothing has changed."""
    params, slots = everything(net, optimizer)
    try:
        optimizer.step()
    except (ValueError, RuntimeError) as error:
        params_after, slots_after = everything(net, optimizer)
        assert all(map(same, params_after, params))
        for before, after in zip(slots, slots_after, strict=True):
            assert before.keys() == after.keys()
            assert all(same(before[key], after[key]) for key in before)
        return type(error), str(error)
    return None


def same(a, b):
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and torch.equal(a.nan_to_num(7), b.nan_to_num(7))


def moved(net, start):
    """What a step has added, in double precision."""
    for param, before in zip(net.parameters(), start, strict=True):
        after = as_real(param.detach())
        yield after.double() - as_real(before).double(), torch.finfo(after.dtype).eps


def as_real(x):
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def assert_close(ours, theirs, tolerance):
    for (a, eps), (b, _) in zip(ours, theirs, strict=True):
        assert torch.equal(a.isfinite(), b.isfinite())
        error = (a - b).nan_to_num(0, 0, 0).norm()
        assert error <= tolerance * b.nan_to_num(0, 0, 0).norm() + 100 * eps


def parameter(net, i):
    return list(net.parameters())[i]


def nothing(net, optimizer):
    pass


def swapped(net, optimizer, i, j):
    optimizer.state[parameter(net, i)] = deepcopy(optimizer.state[parameter(net, j)])


def shared(net, optimizer, i, j):
    optimizer.state[parameter(net, i)] = optimizer.state[parameter(net, j)]


def forgotten(net, optimizer, i):
    optimizer.state.pop(parameter(net, i), None)


def other_slot(net, optimizer, i, key, change):
    slots = optimizer.state[parameter(net, i)]
    if key in slots:
        slots[key] = change(slots[key])


def without_slot(net, optimizer, i):
    optimizer.state[parameter(net, i)].pop("step", None)


def slot_is_gradient(net, optimizer, i):
    param = parameter(net, i)
    if param.grad is not None:
        optimizer.state[param]["lead"] = param.grad


def other_values(net, optimizer, i, change):
    """Of any shape, type and place in memory, with a gradient as they have."""
    param = parameter(net, i)
    param.grad = None
    param.data = change(param.data)
    set_gradient(param, torch.ones(param.shape, dtype=param.dtype))


def stale_gradient(net, optimizer, i, change):
    param = parameter(net, i)
    param.data = change(param.data)


def resized(net, optimizer, i, shape):
    data = parameter(net, i).data
    if data.untyped_storage().resizable():
        data.resize_(shape)


def shared_values(net, optimizer, i, j):
    """Two parameters of which the end of one is the beginning of the other."""
    first, second = parameter(net, i), parameter(net, j)
    if i != j and first.dtype == second.dtype:
        n, m = first.numel(), second.numel()
        row = torch.cat([first.data.flatten(), second.data.flatten()[1:]])
        first.data = row[:n].view(first.shape)
        second.data = row[n - 1 : n - 1 + m].view(second.shape)


def gradient_is_value(net, optimizer, i):
    param = parameter(net, i)
    set_gradient(param, param.data)


def sparse_gradient(net, optimizer, i):
    param = parameter(net, i)
    if param.dim():
        set_gradient(param, torch.ones(param.shape, dtype=param.dtype).to_sparse())


def without_numbers(net, optimizer, i):
    """A parameter on the meta device takes the place of one with numbers."""
    name, param = list(net.named_parameters())[i]
    meta = nn.Parameter(torch.empty_like(param, device="meta"))
    meta.grad = torch.empty_like(meta)
    setattr(net, name, meta)
    params = optimizer.param_groups[0]["params"]
    params[i] = meta


def place(*kinds):
    return st.tuples(*(st.just(kind) if callable(kind) else kind for kind in kinds))


ONE, KEYS = st.integers(0, 3), st.sampled_from(["momenta", "square", "lead", "step", "size"])
CHANGES = st.one_of(
    place(nothing),
    place(swapped, ONE, ONE),
    place(shared, ONE, ONE),
    place(forgotten, ONE),
    place(other_slot, ONE, KEYS, st.sampled_from(SLOTS)),
    place(without_slot, ONE),
    place(slot_is_gradient, ONE),
    place(other_values, ONE, st.sampled_from(VALUES)),
    place(stale_gradient, ONE, st.sampled_from([*LAYOUTS, longer, transposed, freed])),
    place(resized, ONE, st.sampled_from([(3,), (1, 1), (8, 4), (700, 9)])),
    place(shared_values, ONE, ONE),
    place(gradient_is_value, ONE),
    place(sparse_gradient, ONE),
    place(without_numbers, ONE),
)
REAL = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def many(items):
    return st.lists(st.sampled_from(items), min_size=8, max_size=8)


ROUNDS = st.fixed_dictionaries(
    {
        "change": CHANGES,
        "grads": st.just([dense] * 8) | many(GRADIENTS),
        "dtypes": st.just([torch.float32] * 8) | many([*REAL, None]),
        "where": st.sampled_from(
            [
                nullcontext,
                lambda: torch.device("meta"),
                lambda: torch.autocast("cpu"),
                torch.inference_mode,
            ]
        ),
    }
)


@given(
    spec=chain_specs(2),
    layouts=many(LAYOUTS),
    types=st.just([torch.float32] * 8) | many([*REAL, torch.complex64]),
    default=st.sampled_from(REAL),
    rounds=st.lists(ROUNDS, min_size=2, max_size=4),
)
@settings(max_examples=EXAMPLES, deadline=None, derandomize="NFN_FUZZ" not in os.environ)
@pytest.mark.filterwarnings("ignore:NFNOptimizer skipped:UserWarning")
@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
def test_native_code_and_torch_agree_or_both_refuse(spec, layouts, types, default, rounds):
    ours, theirs = Net(spec, layouts, types), Net(spec, layouts, types)
    fused, plain = optimizer_of(ours, spec, True), optimizer_of(theirs, spec, False)
    try:
        torch.set_default_dtype(default)
        for seed, one in enumerate(rounds):
            take_round(one, seed, (ours, fused), (theirs, plain))
    finally:
        torch.set_default_dtype(torch.float32)


def take_round(one, seed, ours, theirs):
    """A change of both networks and a step."""
    for net, optimizer in (ours, theirs):
        set_gradients(net, one["grads"], one["dtypes"], seed)
        alter, *arguments = one["change"]
        if is_whole(*everything(net, optimizer)):
            alter(net, optimizer, *arguments)
    starts = [everything(*each)[0] for each in (ours, theirs)]
    found, expected = [], []
    for result, (net, optimizer) in ((found, ours), (expected, theirs)):
        with one["where"]():
            result.append(step(net, optimizer))
    assert found == expected
    if found[0] is not None:
        assert re.search("parameter '|gradient of '", found[0][1])
    elif all(map(is_whole, starts)):
        # The polar factor of equal numbers makes much of how they were rounded.
        is_equal = {expanded, overlapping} & {*one["grads"]}
        steps = [moved(net, start) for (net, _), start in zip((ours, theirs), starts, strict=True)]
        assert_close(*steps, 1e-2 if is_equal else 1e-3)


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
    net = Net(SPEC, LAYOUTS[:1] * 8, REAL[:1] * 8)
    optimizer = optimizer_of(net, SPEC, True)
    set_gradients(net, LAYOUTS[:1] * 8, [dtype] * 8, 1)
    if net.table.grad.dtype != dtype:
        pytest.skip("this torch has gradients of the parameter's type only")
    optimizer.step()
    assert len(taken) == 1
    assert all(p.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("fused", [True, False])
def test_double_gradients_too_large_for_single_ones_are_skipped(fused):
    net = Net(SPEC, LAYOUTS[:1] * 8, REAL[:1] * 8)
    optimizer = optimizer_of(net, SPEC, fused)
    set_gradients(net, LAYOUTS[:1] * 8, [torch.float64] * 8, 1)
    if net.table.grad.dtype != torch.float64:
        pytest.skip("this torch has gradients of the parameter's type only")
    net.table.grad.fill_(1e100)
    with pytest.warns(UserWarning, match="skipped a step"):
        optimizer.step()
    assert not optimizer.state
