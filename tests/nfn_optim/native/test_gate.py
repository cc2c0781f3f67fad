"""Nothing gets into native code that it was not made for."""

from pathlib import Path

import pytest
import torch

import nfn_optim
from nfn_optim import load_rule
from nfn_optim.native import Expected, check
from nfn_optim.native import step as native_step
from nfn_optim.testing import chain_spec

pytestmark = pytest.mark.usefixtures("native_step")

RULE = load_rule("small").requires_grad_(False)
SPEC = chain_spec([4, 8, 5])


def longer(x):
    return torch.cat([x.reshape(-1), x.reshape(-1), x.new_zeros(1)])


def expanded(x):
    return x.flatten()[0].expand(x.shape)


def without_memory(x):
    x = x.clone()
    x.untyped_storage().resize_(0)
    return x


def strided_without_memory(x):
    """Freed, too, and with gaps where there is more than one entry."""
    x = torch.stack([x, x], -1)[..., 0]
    x.untyped_storage().resize_(0)
    return x


def standing_for_zeros(x):
    return torch._efficientzerotensor(x.shape)


def misaligned(x):
    """The same numbers, one byte behind where numbers of their size begin."""
    there = torch.frombuffer(bytearray(x.nbytes + 1), dtype=x.dtype, offset=1).view(x.shape)
    return there.copy_(x)


def overlapping(x):
    """Entries in fewer places than there are entries, with no stride of zero."""
    return torch.randn(x.numel() + 1).as_strided(x.shape, (1,) * x.dim())


@pytest.mark.parametrize("what", ["value", "gradient", *native_step.SLOTS])
@pytest.mark.parametrize(
    "change",
    [
        *(longer, torch.Tensor.double, torch.Tensor.to_sparse, lambda x: x.to("meta")),
        *(without_memory, strided_without_memory, standing_for_zeros, misaligned),
    ],
    ids=[
        *("shape", "type", "layout", "device", "storage"),
        *("storage of a view", "no storage", "alignment"),
    ],
)
def test_no_tensor_of_another_kind_gets_into_a_native_step(what, change):
    """The gate by itself, without what the optimizer checks."""
    values = {n: torch.randn(s) for n, s in SPEC.stored.items()}
    for name in [
        n for n in values if what != "steep" or "steep" in RULE.init(values, SPEC).slots[n]
    ]:
        params, grads = dict(values), {n: v.clone() for n, v in values.items()}
        slots = {n: RULE.new_slots(n, p, SPEC) for n, p in params.items()}
        assert native_step.prepare(RULE, params, grads, slots, SPEC) is not None
        holder = {"value": params, "gradient": grads}.get(what, slots[name])
        key = name if what in ("value", "gradient") else what
        holder[key] = change(holder[key])
        assert native_step.prepare(RULE, params, grads, slots, SPEC) is None


@pytest.mark.parametrize("what", ["value", "momenta", "square", "lead"])
def test_a_native_step_writes_no_entry_twice(what):
    params = {n: torch.randn(s) for n, s in SPEC.stored.items()}
    slots = {n: RULE.new_slots(n, p, SPEC) for n, p in params.items()}
    grads = {n: expanded(p.clone()) for n, p in params.items()}
    assert native_step.prepare(RULE, params, grads, slots, SPEC) is not None
    holder, key = (params, "0.bias") if what == "value" else (slots["0.bias"], what)
    holder[key] = expanded(holder[key])
    assert native_step.prepare(RULE, params, grads, slots, SPEC) is None


def test_a_native_step_writes_no_entries_that_overlap():
    params = {n: torch.randn(s) for n, s in SPEC.stored.items()}
    grads = {n: overlapping(p) for n, p in params.items()}
    slots = {n: RULE.new_slots(n, p, SPEC) for n, p in params.items()}
    assert native_step.prepare(RULE, params, grads, slots, SPEC) is not None
    params["0.weight"] = overlapping(params["0.weight"])
    assert native_step.prepare(RULE, params, grads, slots, SPEC) is None


def same_slot(params, grads, slots, rule):
    slots["1.bias"]["step"] = slots["0.bias"]["step"]


def gradient_in_parameter(params, grads, slots, rule):
    grads["1.bias"] = params["0.bias"][1:6]


def parameters_in_a_row(params, grads, slots, rule):
    row = torch.randn(12)
    params["0.bias"], params["1.bias"] = row[:8], row[7:]


def parameter_of_the_rule(params, grads, slots, rule):
    params["0.bias"] = rule.schedule.weight.data.flatten()[1:9]


@pytest.mark.parametrize(
    "share", [same_slot, gradient_in_parameter, parameters_in_a_row, parameter_of_the_rule]
)
def test_what_a_native_step_writes_is_nothing_else(share):
    params = {n: torch.randn(s) for n, s in SPEC.stored.items()}
    grads = {n: torch.randn(s) for n, s in SPEC.stored.items()}
    slots, rule = {n: RULE.new_slots(n, p, SPEC) for n, p in params.items()}, load_rule("small")
    grads["1.bias"] = grads["0.bias"][:5]  # what is only read may be shared
    assert native_step.prepare(rule, params, grads, slots, SPEC) is not None
    share(params, grads, slots, rule)
    assert native_step.prepare(rule, params, grads, slots, SPEC) is None


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


def test_the_gate_refuses_scattered_tensors_whose_storage_was_cut():
    tensor = torch.zeros(3, 2).mT
    check([tensor], [weight()])
    tensor.untyped_storage().resize_(20)
    with pytest.raises(ValueError, match="the weight: "):
        check([tensor], [weight()])


def test_the_gate_names_tensors_that_are_also_others():
    row = torch.zeros(10)
    moments = Expected("moments", (4,), is_written=True)
    check([row[:6].view(2, 3), row[6:]], [weight(), moments])
    with pytest.raises(ValueError, match=r"^the weight and moments: .*\.clone\(\)"):
        check([row[:6].view(2, 3), row[5:9]], [weight(), moments])


def test_pointers_are_taken_in_the_gate_alone():
    root = Path(nfn_optim.__file__).parents[1]
    sources = [path for name in ("nfn_optim", "meta_train") for path in (root / name).rglob("*.py")]
    users = {path.name for path in sources if "data_ptr" in path.read_text()}
    assert users == {"_gate.py", "_twin.py"}  # the latter tells tensors that share memory
