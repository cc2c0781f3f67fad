"""The loss is the evidence lower bound, and decoders keep the symmetry."""

from math import prod

import pytest
import torch

from meta_train.suites.data import TicketConfig, classifier
from meta_train.suites.harness import Method
from meta_train.suites.networks import (
    Autoencode,
    MaskGenerator,
    MaskVAE,
    NeuronMasks,
    decoder_interface,
    encoder_interface,
    negative_bound,
)
from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import NPLinear, Pointwise
from nfn_optim.testing import assert_equivariant

from ..conftest import small

SPEC = NetworkSpec.from_module(classifier(64, 10, TicketConfig(hidden=(7, 6))))
IS_WEIGHT = torch.cat(
    [torch.full((prod(SPEC.stored[name]),), name in SPEC.weights) for name in SPEC.names]
)


def pairs(spec: NetworkSpec, generator: torch.Generator) -> WeightSpaceFeatures:
    tensors = {n: torch.randn(2, *s, 2, generator=generator) for n, s in spec.shapes.items()}
    return WeightSpaceFeatures(spec, tensors)


def test_the_bound_is_that_of_the_logits_and_the_latents(generator: torch.Generator) -> None:
    interface = decoder_interface(SPEC)
    torch.manual_seed(0)
    vae = MaskVAE(*(small(Pointwise).build(i) for i in (encoder_interface(interface), interface)))
    model = Autoencode(vae, IS_WEIGHT).eval()
    masks = torch.ones(2, int(IS_WEIGHT.sum()))
    features = pairs(SPEC, generator)
    predictions = model(features)
    statistics = torch.cat([t.flatten(1, -2) for t in vae.encoder(features).values()], dim=1)
    mean, log_variance = statistics.chunk(2, dim=-1)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    divergence = torch.distributions.kl_divergence(posterior, prior).sum((1, 2))
    likelihood = torch.distributions.Bernoulli(logits=predictions[:, :-1]).log_prob(masks).sum(1)
    expected = (divergence - likelihood).mean() / masks.shape[1]
    torch.testing.assert_close(negative_bound(predictions, masks), expected)


METHODS: dict[str, Method] = {
    "pt": MaskGenerator(small(Pointwise, bands=2, norm=True)),
    "np": MaskGenerator(small(NPLinear, bands=2, norm=True)),
    "neurons": NeuronMasks(width=6, rank=3, products=2),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_encoders_and_decoders_of_the_methods_are_equivariant(
    method: Method, generator: torch.Generator
) -> None:
    interface = decoder_interface(SPEC)
    torch.manual_seed(0)
    network = method.build(interface).double()
    shapes = interface.spec.shapes.items()
    tensors = {n: torch.randn(2, *s, 6, generator=generator, dtype=torch.double) for n, s in shapes}
    features = WeightSpaceFeatures(interface.spec, tensors)
    assert_equivariant(network, interface.spec.hnp(), features, generator)
    assert isinstance(network, MaskVAE)
    read = features.map(lambda tensor: tensor[..., :2])
    assert_equivariant(network.encoder, interface.spec.hnp(), read, generator)


def test_a_latent_of_a_neuron_changes_all_of_its_weights(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    decoder = NeuronMasks(width=8, rank=4).build(decoder_interface(SPEC))
    tensors = {n: torch.randn(1, *s, 6, generator=generator) for n, s in SPEC.shapes.items()}
    before = decoder(WeightSpaceFeatures(SPEC, tensors))
    first, second, *_ = SPEC.weights
    moved = {n: t.clone() for n, t in tensors.items()}
    moved[SPEC.vectors[0]][0, 2, 1:] += 1.0
    after = decoder(WeightSpaceFeatures(SPEC, moved))
    assert (after[first] - before[first])[0, 2].abs().min() > 0
    assert (after[second] - before[second])[0, :, 2].abs().min() > 0
    unread = {n: t.clone() for n, t in tensors.items()}
    unread[first][..., 1:] += 1.0
    assert torch.equal(decoder(WeightSpaceFeatures(SPEC, unread))[first], before[first])


def test_only_neurons_have_latents_that_are_not_the_priors(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    encoder = NeuronMasks(width=8, rank=4).build(encoder_interface(decoder_interface(SPEC))).encoder
    statistics = encoder(pairs(SPEC, generator))  # type: ignore[operator]
    written = {name for name, tensor in statistics.items() if tensor.any()}
    assert written == set(SPEC.vectors[:-1])
