"""What NFNOptimizer sees in real networks, and that they train."""

import copy

import pytest
import torch
from torch import nn

from nfn_optim import NetworkSpec, NFNOptimizer
from nfn_optim.symmetry._permute import permute_params, random_permutations


def test_renumbering_hidden_neurons_keeps_the_function(
    architecture, assert_renumbering_keeps_the_function
):
    """No population is claimed that the network does not have, and no fewer than there are."""
    model = architecture.make()
    spec = assert_renumbering_keeps_the_function(model, torch.randn(2, 3, 32, 32))
    assert len(spec.populations) == architecture.free


def test_renumbering_then_training_equals_training_then_renumbering(architecture):
    generator = torch.Generator().manual_seed(0)
    model = architecture.make().double().eval()
    spec = NetworkSpec.from_module(model).hnp()
    twin, permutations = copy.deepcopy(model), random_permutations(spec, generator)
    permuted = permute_params(spec, dict(twin.named_parameters()), permutations)
    twin.load_state_dict(permuted, strict=False)
    images = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.float64)
    for network in (model, twin):
        optimizer = NFNOptimizer(network)
        optimizer.rule.double()
        for _ in range(3):
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()
    expected = permute_params(spec, dict(model.named_parameters()), permutations)
    for name, param in twin.named_parameters():
        if name in expected:
            torch.testing.assert_close(param, expected[name], rtol=0, atol=1e-6, msg=name)


def test_layers_that_meet_share_their_neurons(architecture):
    spec = NetworkSpec.from_module(architecture.make())
    assert len({spec.axes[name][axis] for name, axis in architecture.same}) == 1


def test_renumbering_one_layer_alone_changes_the_function(architecture):
    """The oracle can fail."""
    model = architecture.make().double().eval()
    spec = NetworkSpec.from_module(model).hnp()
    name, axis = architecture.same[0]
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = model(images)
    label = spec.labels(name)[axis]
    alone = spec.subset([name])
    order = torch.arange(spec.sizes[label]).roll(1)
    model.load_state_dict(
        permute_params(alone, dict(model.named_parameters()), {label: order}), False
    )
    assert (model(images) - expected).abs().max() > 1e-6


def test_coverage_is_as_expected(architecture):
    coverage = NFNOptimizer(architecture.make()).coverage()
    assert coverage.share >= architecture.share
    others = [row.name for row in coverage.rows if not row.is_placed]
    assert all(any(part in name for part in architecture.alone) for name in others)
    assert bool(others) == bool(architecture.alone)


def test_making_an_optimizer_changes_nothing_else(architecture, untouched):
    model = architecture.make()
    model(torch.ones(2, 3, 32, 32)).sum().backward()
    with untouched(model):
        NFNOptimizer(model)


def test_architectures_train(architecture):
    model = architecture.make()
    start = copy.deepcopy(model)
    optimizer = NFNOptimizer(model)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 3, 32, 32, generator=generator)
    labels = torch.arange(16) % 5
    images[:, 0] += (labels - 2.0)[:, None, None]  # what is to be found
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.85 * losses[0]
    for (name, param), old in zip(model.named_parameters(), start.parameters(), strict=True):
        assert not torch.equal(param, old), name


@pytest.mark.parametrize("width", [8, 16])
def test_wide_and_narrow_have_one_structure(architecture, width):
    """What is found depends on the code, not on sizes that happen to agree."""
    narrow = NetworkSpec.from_module(architecture.make())
    wide = NetworkSpec.from_module(architecture.make(width))
    assert narrow.axes == wide.axes
    assert narrow.pinned == wide.pinned
