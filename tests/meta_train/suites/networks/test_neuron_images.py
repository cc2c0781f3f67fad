"""Readers of neurons' images see what neurons compute, by number, and how it differs."""

import pytest
import torch

from meta_train.suites.data import render
from meta_train.suites.harness import Interface
from meta_train.suites.networks import NeuronImages, Places
from meta_train.suites.networks._neuron_images import CenterPlaces
from meta_train.suites.networks._shown_image import SirenMaps
from meta_train.zoo import FieldConfig, siren
from nfn_optim import NetworkSpec
from nfn_optim.testing import assert_invariant, random_features

SPEC = NetworkSpec.from_module(siren(2, 3, FieldConfig(hidden=(4, 5))))
PLACES = Places(side=6, span=1.0, omega=3.0)
READER = NeuronImages(PLACES, widths=(4, 8))


def test_channels_are_the_last_neurons_and_the_pixels(generator: torch.Generator) -> None:
    feats = random_features(SPEC, 1, generator, batch=(2,), dtype=torch.float64)
    maps = SirenMaps(SPEC, PLACES, num_layers=2).double()
    computed = maps(feats)
    assert computed.shape == (2, maps.channels, 6, 6)
    neurons, shown = computed.split([5, 3], dim=1)
    torch.testing.assert_close(shown, render(feats, (6, 6), PLACES.omega))
    weight, bias = (feats[name] for name in (SPEC.weights[-1], SPEC.vectors[-1]))
    read = torch.einsum("nchk,nhxy->ncxy", weight, neurons) + bias.unsqueeze(-1)
    torch.testing.assert_close(read, shown)


def test_neurons_are_told_apart(generator: torch.Generator) -> None:
    feats = random_features(SPEC, 1, generator, batch=(3,), dtype=torch.float64)
    network = READER.build(Interface(SPEC, out_features=7)).double().eval()
    logits = network(feats)
    assert logits.shape == (3, 7)
    with pytest.raises(AssertionError):
        assert_invariant(network, SPEC.hnp(), feats, generator)


def test_what_all_networks_compute_is_left_out(generator: torch.Generator) -> None:
    common = 5 * torch.randn(2, 3, 3, generator=generator)
    scales = torch.tensor([0.1, 1.0])[:, None, None]
    noise = torch.randn(400, 2, 3, 3, generator=generator)
    center = CenterPlaces(2, 3)
    for _ in range(100):
        centered = center(common + scales * noise)
    torch.testing.assert_close(centered.mean(0), torch.zeros(2, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(center.eval()(common + scales * noise), centered, atol=1e-3, rtol=0)
    expected = scales * (noise - noise.mean(0))
    torch.testing.assert_close(centered, expected, atol=1e-5, rtol=0)


def test_every_parameter_and_weight_counts(generator: torch.Generator) -> None:
    network = READER.build(Interface(SPEC, out_features=7))
    feats = random_features(SPEC, 1, generator, batch=(5,))
    weights = [tensor.requires_grad_() for tensor in feats.values()]
    network(feats.like(weights)).square().sum().backward()
    for parameter in (*network.parameters(), *weights):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
