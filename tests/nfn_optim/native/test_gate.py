"""Whatever tensors a step finds, native code and torch agree, or both refuse and change nothing."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import nfn_optim
from nfn_optim import NFNOptimizer, load_rule
from nfn_optim.native import Expected, check
from nfn_optim.native import step as native_step
from nfn_optim.testing import chain_spec, chain_specs

pytestmark = pytest.mark.usefixtures("native_step")

RULE = load_rule().requires_grad_(False)
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


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fused", [True, False])
def test_another_default_device_changes_nothing(fused, when):
    def run(device):
        net = Net(SPEC, LAYOUTS[:1] * 7)
        set_gradients(net, LAYOUTS[:1] * 7, [torch.float32] * 7, 1)
        optimizer = None if when == "before" else optimizer_of(net, SPEC, fused)
        torch.set_default_device(device)
        try:
            optimizer = optimizer or NFNOptimizer(
                [(n.replace("/", "."), p) for n, p in net.named_parameters()],
                spec=SPEC,
                weight_decay=0.1,
                fused=fused,
            )
            for _ in range(2):
                optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
            optimizer.step()
        finally:
            torch.set_default_device(None)
        return list(net.parameters())

    assert all(map(torch.equal, run("meta"), run("cpu")))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("fused", [True, False])
def test_another_default_type_changes_nothing(fused, dtype):
    def run(default):
        net = Net(SPEC, LAYOUTS[:1] * 7)
        set_gradients(net, LAYOUTS[:1] * 7, [torch.float32] * 7, 1)
        torch.set_default_dtype(default)
        try:
            named = [(n.replace("/", "."), p) for n, p in net.named_parameters()]
            optimizer = NFNOptimizer(named, spec=SPEC, weight_decay=0.1, fused=fused)
            optimizer.step()
            return list(net.parameters()), optimizer.state_dict()
        finally:
            torch.set_default_dtype(torch.float32)

    (found, state), (expected, saved) = run(dtype), run(torch.float32)
    assert all(map(torch.equal, found, expected))
    assert state["param_groups"] == saved["param_groups"]
    for key, slots in saved["state"].items():
        for name, slot in slots.items():
            assert state["state"][key][name].dtype == slot.dtype == torch.float32


def test_steps_are_counted_beyond_what_a_half_can_count():
    torch.set_default_dtype(torch.float16)
    try:
        net = Net(SPEC, LAYOUTS[:1] * 7)
        optimizer = optimizer_of(net.float(), SPEC, None)
        set_gradients(net, LAYOUTS[:1] * 7, [torch.float32] * 7, 1)
        optimizer.step()
        for slots in optimizer.state.values():
            slots["step"].fill_(2048)
        optimizer.step()
    finally:
        torch.set_default_dtype(torch.float32)
    assert {float(slots["step"]) for slots in optimizer.state.values()} == {2049.0}


def without_memory(x):
    x = x.clone()
    x.untyped_storage().resize_(0)
    return x


@pytest.mark.parametrize("what", ["value", "gradient", *native_step.SLOTS])
@pytest.mark.parametrize(
    "change",
    [longer, torch.Tensor.double, torch.Tensor.to_sparse, lambda x: x.to("meta"), without_memory],
    ids=["shape", "type", "layout", "device", "storage"],
)
def test_no_tensor_of_another_kind_gets_into_a_native_step(what, change):
    """The gate by itself, without what the optimizer checks."""
    values = {n: torch.randn(s) for n, s in SPEC.stored.items()}
    for name in values:
        params, grads = dict(values), dict(values)
        slots = {n: RULE.new_slots(p) for n, p in params.items()}
        assert native_step.prepare(RULE, params, grads, slots, SPEC) is not None
        holder = {"value": params, "gradient": grads}.get(what, slots[name])
        key = name if what in ("value", "gradient") else what
        holder[key] = change(holder[key])
        assert native_step.prepare(RULE, params, grads, slots, SPEC) is None


@pytest.mark.parametrize("what", ["value", "momenta", "square", "lead"])
def test_a_native_step_writes_no_entry_twice(what):
    params = {n: torch.randn(s) for n, s in SPEC.stored.items()}
    slots = {n: RULE.new_slots(p) for n, p in params.items()}
    grads = {n: expanded(p) for n, p in params.items()}
    assert native_step.prepare(RULE, params, grads, slots, SPEC) is not None
    holder, key = (params, "0.bias") if what == "value" else (slots["0.bias"], what)
    holder[key] = expanded(holder[key])
    assert native_step.prepare(RULE, params, grads, slots, SPEC) is None


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (torch.zeros(3, 2), r"of shape \(3, 2\) on cpu; .*\(2, 3\)"),
        (torch.zeros(2, 3, dtype=torch.float64), "got torch.float64"),
        (torch.zeros(2, 3, device="meta"), "on meta"),
        (torch.zeros(2, 3).to_sparse(), "as torch.sparse_coo"),
        (torch.zeros(1, 3).expand(2, 3), r"with strides \(0, 1\).* no entry twice"),
        (torch.zeros(2, 3).as_subclass(type("Mine", (torch.Tensor,), {})), "got a Mine of"),
    ],
    ids=["shape", "type", "device", "sparse", "expanded", "subclass"],
)
def test_the_gate_names_what_it_refuses(tensor, match):
    with pytest.raises(ValueError, match=rf"^the weight: .*{match}"):
        check([torch.zeros(1), tensor], [Expected("other", (1,)), weight()])


def weight():
    return Expected("the weight", (2, 3), is_written=True)


def test_the_gate_refuses_tensors_whose_storage_was_cut():
    tensor = torch.zeros(2, 3)
    check([tensor], [weight()])
    tensor.untyped_storage().resize_(20)
    with pytest.raises(ValueError, match="the weight: "):
        check([tensor], [weight()])


def test_pointers_are_taken_in_the_gate_alone():
    root = Path(nfn_optim.__file__).parents[1]
    sources = [path for name in ("nfn_optim", "meta_train") for path in (root / name).rglob("*.py")]
    users = {path.name for path in sources if "data_ptr" in path.read_text()}
    assert users == {"_gate.py", "_twin.py"}  # the latter tells tensors that share memory
