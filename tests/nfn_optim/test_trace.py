import pytest
import torch
from torch import nn

from nfn_optim import NetworkSpec, SpecError
from nfn_optim._chain import infer_chain
from nfn_optim._permute import permute_params, random_permutations


def flat_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(4 * 9, 6, bias=False),
        nn.GELU(),
        nn.Linear(6, 2),
    )


def pooled_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.Tanh(),
        nn.Conv2d(4, 5, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 2),
    )


def test_flatten_boundary_becomes_an_ordered_axis():
    spec = NetworkSpec.from_module(flat_cnn())
    assert spec.axes["0.0.weight"] == ("0.0", "in", None, None)
    assert spec.axes["3.weight"] == ("3", "0.0", None)
    assert spec.shapes["3.weight"] == (6, 4, 9)
    assert spec.stored["3.weight"] == (6, 36)
    assert "3.bias" not in spec.axes
    assert spec.axes["5.bias"] == ("out",)
    assert spec.io == {"in", "out"}


def test_global_pool_has_no_ordered_axis():
    spec = NetworkSpec.from_module(pooled_cnn())
    assert spec.axes["5.weight"] == ("out", "2")
    assert spec.names == ("0.weight", "2.weight", "2.bias", "5.weight", "5.bias")


@pytest.mark.parametrize("make", [flat_cnn, pooled_cnn])
def test_renumbering_hidden_neurons_keeps_the_function(make):
    model = make().double().eval()
    spec = NetworkSpec.from_module(model).hnp()
    inputs = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    expected = model(inputs)
    permutations = random_permutations(spec, torch.Generator().manual_seed(0))
    model.load_state_dict(permute_params(spec, dict(model.named_parameters()), permutations))
    torch.testing.assert_close(model(inputs), expected)


def test_single_layer_and_named_children():
    assert NetworkSpec.from_module(nn.Linear(2, 3)).axes["weight"] == ("out", "in")
    spec = NetworkSpec.from_module(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    assert spec.axes["1.weight"] == ("out", "0")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1)), "submodule '1' reads 4 inputs"),
        (nn.Sequential(nn.ReLU()), "Sequential has no Linear or convolution"),
        (
            nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.MultiheadAttention(3, 1))),
            r"submodule '0.1' \(MultiheadAttention\) cannot be read",
        ),
    ],
)
def test_unreadable_modules_are_named(model, message):
    with pytest.raises(SpecError, match=message):
        NetworkSpec.from_module(model)


def test_chain_from_shapes_equals_the_trace_up_to_names():
    model = flat_cnn()
    traced = NetworkSpec.from_module(model)
    inferred = infer_chain({n: tuple(p.shape) for n, p in model.named_parameters()})
    renamed = {"0.0": "h1", "3": "h2", "in": "in", "out": "out", None: None}
    expected = {n: tuple(renamed[a] for a in labels) for n, labels in traced.axes.items()}
    assert inferred.axes == expected
    assert inferred.shapes == traced.shapes


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"a": (3, 2), "b": (4, 7)}, r"'b' of shape \(4, 7\)"),
        ({"a": (3,)}, r"'a' of shape \(3,\)"),
        ({"a": (3, 2), "b": (2,)}, r"'b' of shape \(2,\)"),
        ({"a": (3, 2), "scale": ()}, r"'scale' of shape \(\)"),
        ({}, "got no parameter"),
    ],
)
def test_shapes_that_form_no_chain_are_named(shapes, message):
    with pytest.raises(SpecError, match=message):
        infer_chain(shapes)
