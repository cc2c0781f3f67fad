"""Readers of what SIRENs show see the image, in the order of its rows, and nothing else."""

import torch

from meta_train.suites.data import render
from meta_train.suites.data._inr_augment import flip_signs
from meta_train.suites.harness import Interface
from meta_train.suites.networks import Places, ShownImage
from meta_train.suites.networks._shown_image import Show
from meta_train.zoo import FieldConfig, siren
from nfn_optim import NetworkSpec
from nfn_optim.testing import assert_invariant, random_features

SPEC = NetworkSpec.from_module(siren(2, 3, FieldConfig(hidden=(4, 5))))
PLACES = Places(side=6, span=1.0, omega=3.0)
READER = ShownImage(PLACES, widths=(4, 8))


def test_what_is_read_are_the_pixels(generator: torch.Generator) -> None:
    feats = random_features(SPEC, 1, generator, batch=(2,), dtype=torch.float64)
    shown = Show(SPEC, PLACES).double()(feats)
    torch.testing.assert_close(shown, render(feats, (6, 6), PLACES.omega))


def test_networks_that_show_the_same_are_of_one_class(generator: torch.Generator) -> None:
    feats = random_features(SPEC, 1, generator, batch=(3,), dtype=torch.float64)
    network = READER.build(Interface(SPEC, out_features=7)).double().eval()
    logits = network(feats)
    assert logits.shape == (3, 7)
    assert_invariant(network, SPEC.hnp(), feats, generator)
    torch.testing.assert_close(network(flip_signs(feats, generator)), logits)


def test_every_parameter_of_the_reader_counts(generator: torch.Generator) -> None:
    network = READER.build(Interface(SPEC, out_features=7))
    logits = network(random_features(SPEC, 1, generator, batch=(5,)))
    logits.square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
