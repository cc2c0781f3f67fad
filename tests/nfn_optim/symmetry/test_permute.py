"""The group action: composes, inverts, and does not change what a network computes."""

import torch
from hypothesis import given, settings
from torch import nn

from nfn_optim import NetworkSpec
from nfn_optim.symmetry._permute import permute, permute_params, random_permutations
from nfn_optim.testing import chain_specs, random_features

few = settings(max_examples=20, deadline=None)


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@given(spec=chain_specs())
@few
def test_permutations_compose_and_invert(spec):
    generator = torch.Generator().manual_seed(0)
    feats = random_features(spec, 2, generator, dtype=torch.float64)
    first, second = (random_permutations(spec, generator) for _ in range(2))
    both = {label: first[label][second[label]] for label in first}
    assert equal(permute(permute(feats, first), second), permute(feats, both))
    back = {label: p.argsort() for label, p in first.items()}
    assert equal(permute(permute(feats, first), back), feats)


@given(spec=chain_specs())
@few
def test_only_the_groups_populations_move(spec):
    permutations = random_permutations(spec.hnp(), torch.Generator().manual_seed(0))
    assert not {"in", "out"} & set(permutations)
    assert set(random_permutations(spec, torch.Generator())) == set(spec.sizes)


def test_entry_i_is_entry_of_permutation_i():
    spec = NetworkSpec({"w": ("a", "b"), "v": ("a",)}, {"w": (3, 2), "v": (3,)})
    feats = random_features(
        spec, 1, torch.Generator().manual_seed(0), batch=(), dtype=torch.float64
    )
    moved = permute(feats, {"a": torch.tensor([2, 0, 1])})
    for i, j in enumerate([2, 0, 1]):
        assert torch.equal(moved["w"][i], feats["w"][j])
        assert torch.equal(moved["v"][i], feats["v"][j])


def test_a_permuted_network_computes_the_same():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 2), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3)
    ).double()
    axes = {
        "0.weight": ("h1", "in", None, None),
        "0.bias": ("h1",),
        "2.weight": ("h2", "h1", None, None),
        "2.bias": ("h2",),
        "5.weight": ("out", "h2", None),
        "5.bias": ("out",),
    }
    params = {name: p.detach() for name, p in model.named_parameters()}
    shapes = {name: p.shape for name, p in params.items()} | {"5.weight": (3, 5, 4)}
    spec = NetworkSpec(axes, shapes, io=("in", "out"), stored={"5.weight": (3, 20)})
    permutations = random_permutations(spec.hnp(), torch.Generator().manual_seed(1))
    permuted = permute_params(spec, params, permutations)
    assert not torch.equal(permuted["2.weight"], params["2.weight"])
    x = torch.randn(7, 2, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(torch.func.functional_call(model, permuted, (x,)), model(x))
