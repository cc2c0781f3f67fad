"""What native training of populations must refuse, before anything has changed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nfn_optim import AdamRule, SGDRule
from nfn_optim.native.population import Layer, Program, Samples, evaluate, read_layers, train

pytestmark = pytest.mark.usefixtures("native_population")

N, M, STEPS, BATCH = 3, 7, 2, 5
# Three inputs, four hidden channels with dropout, two outputs.
HIDDEN = Layer(3, 1, 1, 1, 1, 1, 0, out=4, activation=1, pooled=0, weight=0, bias=12)
LAST = Layer(4, 1, 1, 1, 1, 1, 0, out=2, activation=0, pooled=0, weight=16, bias=24)
PROGRAM = Program((HIDDEN, LAST), shape=(3,), parameters=26, omega=1.0)


def arguments(rule="adam"):
    """Of a call that native code takes."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape):
        return torch.rand(shape, generator=generator)

    moments = ("exp_avg", "exp_avg_sq") if rule == "adam" else ("momentum",)
    return {
        "inputs": numbers(M, 3),
        "targets": torch.randint(2, (M,), generator=generator),
        "l2": numbers(N),
        "masks": numbers(N, 26),
        "index": torch.randint(M, (N, STEPS, BATCH), generator=generator),
        "keep": numbers(N, STEPS, BATCH * 4),
        "lr": numbers(N),
        "rates": [1.0] * STEPS,
        "weights": numbers(N, 26),
        **{name: torch.zeros(N, 26) for name in moments},
        "step": torch.zeros(()),
    }


def call(given, rule="adam"):
    slots = {name: given[name] for name in ("exp_avg", "exp_avg_sq", "momentum") if name in given}
    if rule == "adam":
        slots["step"] = given["step"]
    train(
        PROGRAM,
        AdamRule(given["lr"]) if rule == "adam" else SGDRule(given["lr"], momentum=0.9),
        Samples(given["inputs"], given["targets"], given["l2"], given["masks"]),
        given["index"],
        given["keep"],
        given["rates"],
        given["weights"],
        slots,
    )


def wrong_shapes():
    """Every tensor with every axis too short and too long."""
    for rule in ("adam", "sgd"):
        for name, tensor in arguments(rule).items():
            if isinstance(tensor, torch.Tensor) and tensor.dim():
                for axis in range(tensor.dim()):
                    for size in (tensor.shape[axis] - 1, 2 * tensor.shape[axis]):
                        yield rule, name, axis, size


@pytest.mark.parametrize(("rule", "name", "axis", "size"), list(wrong_shapes()))
def test_no_tensor_of_another_shape_reaches_native_code(rule, name, axis, size):
    given = arguments(rule)
    tensor = given[name]
    given[name] = torch.cat([tensor, tensor], axis).narrow(axis, 0, size)
    before = {n: t.clone() for n, t in given.items() if isinstance(t, torch.Tensor)}
    with pytest.raises((ValueError, IndexError), match=r"got|there are"):
        call(given, rule)
    assert all(torch.equal(given[n], t) for n, t in before.items())


def test_as_many_factors_as_steps():
    given = arguments()
    given["rates"] = [1.0] * 3
    with pytest.raises(ValueError, match=r"factors of the rates: .*\(3,\).*\(2,\)"):
        call(given)


@pytest.mark.parametrize("name", ["weights", "exp_avg", "exp_avg_sq"])
def test_what_is_written_must_be_memory_of_its_own(name):
    given = arguments()
    given[name] = torch.zeros(1, 26).expand(N, 26)
    with pytest.raises(ValueError, match=f"{name}: .*no entry twice"):
        call(given)


@given(st.sampled_from([torch.float64, torch.float16, torch.int64]), st.sampled_from("wms"))
@settings(deadline=None)
def test_what_is_written_must_be_float32(dtype, which):
    name = {"w": "weights", "m": "exp_avg", "s": "exp_avg_sq"}[which]
    given = arguments()
    given[name] = given[name].to(dtype)
    with pytest.raises(ValueError, match=f"{name}: got {dtype}"):
        call(given)


def test_a_storage_that_was_cut_is_refused():
    given = arguments()
    given["weights"].untyped_storage().resize_(16)
    with pytest.raises(ValueError, match="weights: "):
        call(given)


def test_weights_and_images_of_other_networks_are_not_evaluated():
    for weights, images in (((N, 25), (M, 3)), ((N, 26), (M, 4)), ((26,), (M, 3)), ((N, 26), (3,))):
        with pytest.raises(ValueError, match=r"(weights|images): got"):
            evaluate(PROGRAM, torch.zeros(weights), torch.zeros(images))


@pytest.mark.parametrize(
    ("layers", "parameters"),
    [((LAST,), 26), ((HIDDEN, HIDDEN), 26), ((HIDDEN, LAST), 25)],
    ids=["other input", "other channels", "too few parameters"],
)
def test_a_program_leads_nowhere_else(layers, parameters):
    with pytest.raises(AssertionError):
        Program(layers, shape=(3,), parameters=parameters, omega=1.0)


@pytest.mark.parametrize(
    ("layer", "name", "shape"),
    [
        *((0, "weight", shape) for shape in [(2, 3, 3, 3), (4, 2, 3, 3), (4, 3, 1, 1)]),
        *((0, "bias", (2,)), (3, "weight", (2, 16)), (3, "weight", (5, 8)), (3, "bias", (4,))),
    ],
)
def test_layers_whose_parameters_were_replaced_are_not_read(layer, name, shape):
    """As pruning does; native code would have read as many numbers as the layer says it has."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    assert read_layers(model, (3, 4, 4)) is not None
    setattr(model[layer], name, nn.Parameter(torch.ones(shape)))
    assert read_layers(model, (3, 4, 4)) is None


def test_what_fades_below_normal_numbers_is_zero():
    """Processors take a hundred times as long for such numbers."""
    given = arguments("sgd")
    given["masks"], given["momentum"] = torch.zeros(N, 26), torch.full((N, 26), 1e-38)
    tiny = torch.tensor(1e-39)
    call(given, "sgd")
    assert not given["momentum"].any()
    assert tiny * 0.5 > 0, "outside nothing has changed"
