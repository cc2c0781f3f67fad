"""Steps follow the size of the weights at the start."""

import math

import pytest
import torch

from nfn_optim import NetworkSpec, NFNRule
from nfn_optim.rules import NFNRuleConfig, Spectral, default_size
from nfn_optim.testing import chain_spec, recurrent_spec

SPEC = chain_spec([12, 20, 5])


def first_step(params, spec=SPEC, **config):
    """What an untrained rule's first step adds to each parameter, by its root mean square."""
    rule = NFNRule(NFNRuleConfig(scaling=0.0, **config)).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    grads = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in params.items()}
    delta, _ = rule(params, grads, rule.init(params, spec))
    return {n: d.square().mean().sqrt().item() for n, d in delta.items()}


def weights(spec=SPEC, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return {
        n: scale * torch.randn(s, generator=generator, dtype=torch.float64)
        for n, s in spec.stored.items()
    }


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_steps_of_matrices_are_a_share_of_the_weights(scale):
    plain, scaled = first_step(weights()), first_step(weights(scale=scale))
    for name in SPEC.weights:
        assert scaled[name] == pytest.approx(scale * plain[name])
    for name in SPEC.vectors:
        assert scaled[name] == pytest.approx(plain[name])


def test_without_the_exponent_steps_are_the_same_everywhere():
    plain, scaled = (first_step(weights(scale=s), relative=0.0) for s in (1.0, 0.1))
    assert scaled == pytest.approx(plain)


def test_weights_that_start_at_zero_count_as_started_by_default():
    params = weights()
    size = params["0.weight"].square().mean().sqrt()
    zero = {**params, "0.weight": torch.zeros_like(params["0.weight"])}
    default = {**params, "0.weight": params["0.weight"] / size * default_size(12)}
    assert first_step(zero) == pytest.approx(first_step(default))


def test_a_huge_start_makes_no_huge_step():
    params = weights()
    huge = {**params, "0.weight": 1e12 * params["0.weight"]}
    assert first_step(huge)["0.weight"] < 40 * first_step(weights())["0.weight"]


def test_tables_step_as_vectors_do():
    spec = NetworkSpec({"e": ("d", "words")}, {"e": (4, 9)}, io=("words",), tables=("e",))
    params = weights(spec)
    assert first_step({"e": 10 * params["e"]}, spec) == pytest.approx(first_step(params, spec))


def test_a_layer_of_typical_size_steps_by_the_step_size():
    params = weights()
    size = params["0.weight"].square().mean().sqrt()
    typical = {**params, "0.weight": params["0.weight"] / size * default_size(32)}
    plain = first_step(typical, relative=0.0)
    assert first_step(typical)["0.weight"] == pytest.approx(plain["0.weight"])


def test_gates_count_as_one_map_each():
    spec = recurrent_spec()
    name = next(name for name in spec.maps if len(spec.shapes[name]) > 2)
    _, columns, _ = spec.shapes[name]
    assert spec.maps[name] == 2
    zero, other = (
        first_step({**weights(spec), name: w}, spec)
        for w in (
            torch.zeros(spec.stored[name], dtype=torch.float64),
            torch.full(spec.stored[name], default_size(columns), dtype=torch.float64),
        )
    )
    assert zero[name] == pytest.approx(other[name])
    assert default_size(columns) == pytest.approx(1 / math.sqrt(3 * columns))


def test_the_size_is_that_of_the_start():
    rule = NFNRule().double().requires_grad_(False)
    params = weights()
    state = rule.init(params, SPEC)
    expected = {n: s["size"].clone() for n, s in state.slots.items()}
    for name, param in params.items():
        assert expected[name].item() == pytest.approx(param.square().mean().sqrt().item())
    _, state = rule(params, weights(), state)
    assert all(torch.equal(s["size"], expected[n]) for n, s in state.slots.items())


def test_steps_shrink_with_the_number_of_bands():
    direction = Spectral(band=8)
    spec = chain_spec([40, 33])
    (bands, bias) = direction.log_shares(spec, ["0.weight", "0.bias"], "cpu")
    assert direction.num_bands(33, 40, "cpu") == 5
    assert bands == pytest.approx(-math.log(5) / 4)
    assert bias == 0
    assert direction.log_shares(spec, ["0.weight"], "cuda") == [0]
