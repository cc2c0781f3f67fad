"""The test tools fail on layers that are wrong on purpose."""

from math import isnan

import pytest
import torch
from torch import nn

from nfn_optim.layers import NPLinear, NPPool, Pointwise
from nfn_optim.testing import (
    assert_equivariant,
    assert_invariant,
    assert_sensitive,
    chain_spec,
    equivariance_error,
    invariance_error,
    random_features,
    renumbered,
    residual_spec,
)

SPEC = chain_spec([3, 4, 2])


class FirstNeuron(nn.Module):
    """Wrong in one place: doubles the first hidden neuron's bias."""

    def forward(self, feats):
        tensors = dict(feats.items())
        tensors["0.bias"] = tensors["0.bias"].clone()
        tensors["0.bias"][..., 0, :] *= 2
        return feats.like(list(tensors.values()))


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def feats(generator):
    return random_features(SPEC, 2, generator, dtype=torch.float64)


def test_a_right_layer_passes(feats, generator):
    assert_equivariant(NPLinear(SPEC, 2, 2).double(), SPEC.np(), feats, generator)
    assert_invariant(NPPool(SPEC), SPEC.np(), feats, generator)


def test_a_wrong_layer_fails_and_the_parameter_is_named(feats, generator):
    with pytest.raises(AssertionError, match="not equivariant.*'0.bias'"):
        assert_equivariant(FirstNeuron(), SPEC.np(), feats, generator)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_right_layer_passes_in_every_type_without_a_setting(dtype):
    spec = chain_spec([9, 40, 30, 5])
    feats = random_features(spec, 4, dtype=dtype)
    assert_equivariant(NPLinear(spec, 4, 4).to(dtype), spec.np(), feats)
    assert_invariant(NPPool(spec), spec.np(), feats)
    assert_sensitive(NPLinear(spec, 4, 4).to(dtype), spec.np(), feats)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_wrong_layer_fails_in_every_type(dtype):
    feats = random_features(SPEC, 2, dtype=dtype)
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(FirstNeuron(), SPEC.np(), feats)
    with pytest.raises(AssertionError, match="not invariant"):
        assert_invariant(lambda x: x["0.bias"][:, 0], SPEC.np(), feats)
    with pytest.raises(AssertionError, match="too symmetric"):
        assert_sensitive(Pointwise(SPEC, 2, 2).to(dtype), SPEC.np(), feats)


def test_features_are_those_of_networks_unless_asked_otherwise():
    feats = random_features(SPEC, 2)
    assert {tensor.dtype for tensor in feats.values()} == {torch.float32}
    again = random_features(SPEC, 2)
    assert all(torch.equal(feats[name], again[name]) for name in feats)


def test_permutations_are_made_where_none_are_given():
    feats = random_features(SPEC, 2)
    assert max(equivariance_error(NPLinear(SPEC, 2, 2), feats).values()) < 1e-5
    assert equivariance_error(FirstNeuron(), feats)["0.bias"] > 0.01
    assert invariance_error(lambda x: x["0.bias"][:, 0], feats) > 0.01
    assert isnan(equivariance_error(lambda x: x.map(lambda t: t * torch.nan), feats)["0.bias"])
    assert not torch.equal(renumbered(feats)["0.bias"], feats["0.bias"])


def test_a_result_of_the_wrong_kind_leads_to_the_right_check():
    feats = random_features(SPEC, 2)
    with pytest.raises(AssertionError, match="a Tensor, not.*assert_invariant"):
        assert_equivariant(NPPool(SPEC), SPEC.np(), feats)
    with pytest.raises(AssertionError, match="WeightSpaceFeatures.*assert_equivariant"):
        assert_invariant(NPLinear(SPEC, 2, 2), SPEC.np(), feats)


def test_a_subtly_wrong_layer_fails(feats, generator):
    layer = NPLinear(SPEC, 2, 2).double()

    def nearly(x):
        out = layer(x)
        return out.like([t + 1e-8 * i for i, t in enumerate(feats.values())])

    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(nearly, SPEC.np(), feats, generator)


def test_a_layer_that_makes_nan_fails(feats, generator):
    with pytest.raises(AssertionError, match="nan"):
        assert_equivariant(lambda x: x.map(lambda t: t * torch.nan), SPEC, feats, generator)
    with pytest.raises(AssertionError, match="nan"):
        assert_invariant(lambda x: x["0.bias"] * torch.nan, SPEC, feats, generator)


def test_an_order_dependent_pool_fails(feats, generator):
    with pytest.raises(AssertionError, match="not invariant"):
        assert_invariant(lambda x: x["0.bias"][:, 0], SPEC.np(), feats, generator)


def test_a_too_symmetric_layer_fails(feats):
    assert_sensitive(NPLinear(SPEC, 2, 2).double(), SPEC.np(), feats)
    with pytest.raises(AssertionError, match="too symmetric.*axis 0 of '0.weight'"):
        assert_sensitive(Pointwise(SPEC, 2, 2).double(), SPEC.np(), feats)


def test_an_np_layer_is_too_symmetric_for_hnp(feats):
    with pytest.raises(AssertionError, match="too symmetric.*axis 1 of '0.weight'"):
        assert_sensitive(NPLinear(SPEC, 2, 2).double(), SPEC.hnp(), feats)


def test_errors_are_relative_and_zero_for_the_identity(feats):
    swap = {"h1": torch.tensor([1, 0, 2, 3])}
    assert max(equivariance_error(lambda x: x, feats, swap).values()) == 0
    assert invariance_error(lambda x: x["0.weight"].sum(), feats, {}) == 0
    small = equivariance_error(lambda x: FirstNeuron()(x.map(lambda t: 1e-6 * t)), feats, swap)
    assert small["0.bias"] > 0.1


def test_handmade_specs_are_what_they_say():
    spec = chain_spec([2, 3, 4], kernels=[(3, 3), ()], biases=[False, True])
    assert spec.names == ("0.weight", "1.weight", "1.bias")
    assert spec.shapes["0.weight"] == (3, 2, 3, 3)
    assert residual_spec().axes["down"] == ("stream", "hidden")


def test_renumbered_moves_hidden_neurons_and_nothing_else(feats, generator):
    moved = renumbered(feats, generator)
    assert not torch.equal(moved["0.bias"], feats["0.bias"])
    assert torch.equal(moved["0.bias"].sort(1).values, feats["0.bias"].sort(1).values)
    assert torch.equal(moved["1.bias"], feats["1.bias"])
