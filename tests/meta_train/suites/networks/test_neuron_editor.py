"""Editors that read what neurons compute: they renumber with them, and see all of a SIREN."""

import pytest
import torch

from meta_train.suites.harness import Interface
from meta_train.suites.networks import (
    ConvolutionalReader,
    Heads,
    NeuronEditor,
    PixelMLP,
    Places,
    SirenPass,
)
from meta_train.suites.networks._equivariant import Equivariant
from meta_train.suites.networks._neuron_editor import SirenActivations
from meta_train.zoo import FieldConfig, evaluate_fields, siren
from nfn_optim import NetworkSpec
from nfn_optim.layers import HNPLinear, NPLinear
from nfn_optim.networks import EquivariantConfig
from nfn_optim.testing import assert_equivariant, random_features

PLACES = Places(side=3, span=0.8, omega=3.0)
EDITORS = [
    NeuronEditor(PLACES, image, networks=2, width=8, rank=2)
    for image in (PixelMLP(), ConvolutionalReader(widths=(4, 5), maps=3))
]
editors = pytest.mark.parametrize("editor", EDITORS, ids=["mlp", "convolutions"])
shapes = pytest.mark.parametrize(
    ("hidden", "channels"), [((4,), 1), ((4, 5), 1), ((4, 5), 3), ((4, 5, 3), 2)], ids=str
)


def spec_of(hidden: tuple[int, ...], channels: int) -> NetworkSpec:
    return NetworkSpec.from_module(siren(2, channels, FieldConfig(hidden=hidden)))


@shapes
def test_the_last_activations_are_what_the_siren_shows(
    hidden: tuple[int, ...], channels: int, generator: torch.Generator
) -> None:
    spec = spec_of(hidden, channels)
    feats = random_features(spec, 1, generator, batch=(4,), dtype=torch.float64)
    *neurons, shown = SirenActivations(spec, PLACES).double()(feats)
    params = {name: tensor.squeeze(-1) for name, tensor in feats.items()}
    expected = evaluate_fields(params, PLACES.grid(2).mT.double(), PLACES.omega).mT
    torch.testing.assert_close(shown, expected)
    assert [tuple(each.shape) for each in neurons] == [(4, width, 9) for width in hidden]


@shapes
@editors
def test_changes_are_renumbered_with_the_neurons(
    editor: NeuronEditor, hidden: tuple[int, ...], channels: int, generator: torch.Generator
) -> None:
    spec = spec_of(hidden, channels)
    feats = random_features(spec, 1, generator, batch=(3,), dtype=torch.float64)
    network = editor.build(Interface(spec, several=True)).double()
    changes = network(feats)
    assert changes.channels == 2
    assert all(tensor.std() > 0 for tensor in changes.values())
    assert_equivariant(network, spec.hnp(), feats, generator)


@shapes
@editors
def test_every_parameter_of_the_siren_and_of_the_editor_counts(
    editor: NeuronEditor, hidden: tuple[int, ...], channels: int, generator: torch.Generator
) -> None:
    spec = spec_of(hidden, channels)
    feats = random_features(spec, 1, generator, batch=(3,), dtype=torch.float64)
    leaves = [tensor.requires_grad_() for tensor in feats.values()]
    network = editor.build(Interface(spec, several=True)).double()
    torch.stack([t.square().sum() for t in network(feats.like(leaves)).values()]).sum().backward()
    for tensor in (*leaves, *network.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("layer", [NPLinear, HNPLinear], ids=["np", "hnp"])
def test_heads_write_networks_and_start_as_the_pass(
    layer: type[NPLinear], generator: torch.Generator
) -> None:
    spec = spec_of((4, 5), 1)
    feats = random_features(spec, 1, generator, batch=(2,), dtype=torch.float64)
    reader = Equivariant(EquivariantConfig(layer=layer, hidden=(4,)))
    method = Heads(SirenPass(PLACES, reader, layer is NPLinear), 3)
    network = method.build(Interface(spec, several=True)).double()
    assert network(feats).channels == 3
    assert_equivariant(network, spec.hnp(), feats, generator)
