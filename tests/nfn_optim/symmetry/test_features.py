"""WeightSpaceFeatures: a checked mapping, a pytree, and a bridge to modules and tuples."""

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.utils import _pytree

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.symmetry._spec import SpecError
from nfn_optim.testing import chain_spec, chain_specs, random_features

SPEC = chain_spec([2, 3, 4], kernels=[(3, 3), ()], biases=[True, False])


@pytest.fixture
def feats():
    return random_features(
        SPEC, 5, torch.Generator().manual_seed(0), batch=(2,), dtype=torch.float64
    )


def test_reads_like_a_mapping(feats):
    assert list(feats) == list(SPEC.names)
    assert len(feats) == 3
    assert feats.channels == 5
    assert feats.batch_shape == (2,)
    assert feats["0.weight"].shape == (2, 3, 2, 3, 3, 5)
    assert "0.weight: (2, 3, 2, 3, 3, 5)" in repr(feats)


def test_order_follows_the_spec_and_not_the_dict(feats):
    turned = WeightSpaceFeatures(SPEC, {n: feats[n] for n in reversed(SPEC.names)})
    assert list(turned) == list(SPEC.names)


@given(spec=chain_specs())
@settings(max_examples=20, deadline=None)
def test_tuples_round_trip_in_the_fields_layout(spec):
    feats = random_features(spec, 3, torch.Generator().manual_seed(0), dtype=torch.float64)
    weights, biases = feats.to_tuple()
    for name, weight in zip(spec.weights, weights, strict=True):
        assert weight.shape == (2, 3, *spec.shapes[name])
    back = WeightSpaceFeatures.from_tuple(spec, weights, biases)
    assert all(torch.equal(back[name], feats[name]) for name in spec.names)


def test_is_a_pytree(feats):
    doubled = _pytree.tree_map(lambda t: 2 * t, feats)
    assert isinstance(doubled, WeightSpaceFeatures)
    assert torch.equal(doubled["0.bias"], 2 * feats["0.bias"])
    assert doubled.spec is SPEC


def test_passes_through_function_transforms(feats):
    gradient = torch.func.grad(lambda f: sum((t**2).sum() for t in f.values()))(feats)
    assert torch.equal(gradient["1.weight"], 2 * feats["1.weight"])
    mapped = torch.vmap(lambda f: f.map(torch.sin))(feats)
    assert torch.equal(mapped["1.weight"], feats["1.weight"].sin())


def test_like_keeps_the_spec(feats):
    assert torch.equal(feats.like([t + 1 for t in feats.values()])["0.bias"], feats["0.bias"] + 1)


def test_modules_round_trip_through_state_dicts():
    modules = [nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4)) for _ in range(3)]
    feats = WeightSpaceFeatures.from_modules(modules)
    assert feats.batch_shape == (3,)
    for module, state in zip(modules, feats.to_state_dicts(), strict=True):
        for name, parameter in module.named_parameters():
            assert torch.equal(state[name], parameter)


def test_a_flatten_boundary_round_trips_through_state_dicts():
    spec = NetworkSpec(
        {"fc": ("out", "c", None)}, {"fc": (5, 2, 3)}, io=("out",), stored={"fc": (5, 6)}
    )
    state = {"fc": torch.randn(5, 6)}
    feats = WeightSpaceFeatures.from_state_dicts(spec, [state])
    assert feats["fc"].shape == (1, 5, 2, 3, 1)
    assert torch.equal(feats.to_state_dicts()[0]["fc"], state["fc"])


def test_dtype_follows_to(feats):
    assert all(t.dtype == torch.float32 for t in feats.to(torch.float32).values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "0.bias"}, "'0.bias'"),
        (lambda t: {**t, "2.bias": t["0.bias"]}, "'2.bias'"),
        (lambda t: {**t, "0.bias": t["0.bias"][..., :3]}, r"\(2, 3, 3\); expected \(2, 3, 5\)"),
        (lambda t: {**t, "0.bias": t["0.bias"][:1]}, r"\(1, 3, 5\); expected \(2, 3, 5\)"),
    ],
    ids=["missing", "unknown", "channels", "batch"],
)
def test_tensors_that_do_not_fit_are_refused(feats, change, message):
    with pytest.raises(SpecError, match=message):
        WeightSpaceFeatures(SPEC, change(dict(feats.items())))


def test_modules_of_two_architectures_are_refused():
    with pytest.raises(SpecError, match=r"module 1 has \(4, 2\).*'0\.weight'.*\(3, 2\)"):
        WeightSpaceFeatures.from_modules(
            [nn.Sequential(nn.Linear(2, n), nn.ReLU(), nn.Linear(n, 1)) for n in (3, 4)]
        )
    with pytest.raises(SpecError, match="no module"):
        WeightSpaceFeatures.from_modules([])


def test_a_tuple_of_another_length_is_refused(feats):
    weights, biases = feats.to_tuple()
    with pytest.raises(SpecError, match="1 weights and 1 biases"):
        WeightSpaceFeatures.from_tuple(SPEC, weights[:1], biases)


def test_several_channels_are_no_state_dict(feats):
    for convert in (feats.to_state_dicts, feats.to_params):
        with pytest.raises(SpecError, match="have 5"):
            convert()


def test_params_may_have_any_batch_shape():
    params = {name: torch.randn(2, 3, *SPEC.stored[name]) for name in SPEC.names}
    feats = WeightSpaceFeatures.from_params(SPEC, params)
    assert feats.batch_shape == (2, 3)
    assert all(torch.equal(t, params[name]) for name, t in feats.to_params().items())
    with pytest.raises(SpecError, match="one batch axis"):
        feats.to_state_dicts()
