import pytest
from torch import nn

from nfn_optim import NetworkSpec, SpecError
from nfn_optim.symmetry._chain import infer_chain

HIDDEN = [
    nn.Linear(8, 6),
    nn.BatchNorm1d(6),
    nn.ReLU(),
    nn.Linear(6, 6),
    nn.ReLU(),
    nn.Linear(6, 2),
]


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(param.shape) for name, param in module.named_parameters()}


def flat_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.Flatten(),
        nn.Linear(4 * 9, 6, bias=False),
        nn.GELU(),
        nn.Linear(6, 2),
    )


@pytest.mark.parametrize("model", [flat_cnn(), nn.Sequential(*HIDDEN)], ids=["cnn", "norm"])
def test_chain_from_shapes_equals_the_trace_up_to_names(model):
    traced, inferred = NetworkSpec.from_module(model), infer_chain(shapes_of(model))
    rename = {}
    for name, labels in traced.axes.items():
        for ours, theirs in zip(inferred.axes[name], labels, strict=True):
            assert rename.setdefault(ours, theirs) == theirs, name
    assert len(set(rename.values())) == len(rename)
    assert inferred.shapes == traced.shapes


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"a": (3, 2), "b": (4, 7)}, r"'b' of shape \(4, 7\)"),
        ({"a": (3,)}, r"'a' of shape \(3,\)"),
        ({"a": (3, 2), "b": (2,)}, r"'b' of shape \(2,\)"),
        ({"a": (3, 2), "scale": ()}, r"'scale' of shape \(\)"),
        ({"a": (3, 3), "b": (3, 3), "u": (3,), "v": (3,)}, "'u' .* fits several layers"),
        ({}, "got no parameter"),
    ],
)
def test_shapes_that_form_no_certain_chain_are_named(shapes, message):
    with pytest.raises(SpecError, match=message):
        infer_chain(shapes)
