"""What NFNOptimizer sees in language models: words, a stream, heads, and hidden neurons."""

import copy

import torch

from nfn_optim import NetworkSpec, NFNOptimizer
from nfn_optim.symmetry._permute import permute_params, random_permutations


def test_every_parameter_has_its_place(language_model):
    coverage = NFNOptimizer(language_model).coverage()
    assert coverage.share == 1
    assert not coverage.spec.pinned


def test_renumbering_keeps_the_function(language_model, assert_renumbering_keeps_the_function):
    texts = torch.randint(0, 11, (3, 7), generator=torch.Generator().manual_seed(0))
    spec = assert_renumbering_keeps_the_function(language_model, texts)
    tables = {
        name for name in spec.names if name.endswith(("wte.weight", "words.weight", "embed.weight"))
    }
    assert tables <= spec.tables
    assert {spec.axes[name][0] for name in tables} <= set(spec.populations)
    assert sum(label in spec.heads for label in spec.populations) >= 2


def test_renumbering_then_training_equals_training_then_renumbering(language_model):
    generator = torch.Generator().manual_seed(0)
    model = language_model.double()
    spec = NetworkSpec.from_module(model).hnp()
    twin, permutations = copy.deepcopy(model), random_permutations(spec, generator)
    with torch.no_grad():
        permuted = permute_params(spec, dict(twin.named_parameters()), permutations)
        for name, param in twin.named_parameters():
            param.copy_(permuted[name])
    texts = torch.randint(0, 11, (4, 7), generator=generator)
    for network in (model, twin):
        optimizer = NFNOptimizer(network)
        optimizer.rule.double()
        for _ in range(3):
            optimizer.zero_grad()
            network(texts).logsumexp(-1).square().mean().backward()
            optimizer.step()
    expected = permute_params(spec, dict(model.named_parameters()), permutations)
    for name, param in twin.named_parameters():
        torch.testing.assert_close(param, expected[name], rtol=0, atol=1e-6, msg=name)


def test_queries_of_one_head_alone_are_told_apart(language_model):
    """The oracle can fail: heads of queries cannot move without those of values."""
    model = language_model.double().eval()
    spec = NetworkSpec.from_module(model).hnp()
    label = next(label for label in spec.populations if label in spec.heads)
    name = next(name for name in spec.names if spec.axes[name][0] == label)
    texts = torch.randint(0, 11, (3, 7), generator=torch.Generator().manual_seed(0))
    expected = model(texts)
    alone = spec.subset([name])
    order = {label: torch.arange(spec.sizes[label]).roll(1)}
    changed = permute_params(alone, dict(model.named_parameters()), order)
    with torch.no_grad():
        model.get_parameter(name).copy_(changed[name])
    assert (model(texts) - expected).abs().max() > 1e-6
