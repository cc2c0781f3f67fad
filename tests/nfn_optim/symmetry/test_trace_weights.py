"""Weights that are computed from parameters: parametrizations, adapters, masks, shared matrices."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from nfn_optim import NetworkSpec, NFNOptimizer


def lin(a: int, b: int) -> nn.Linear:
    return nn.Linear(a, b)


class Doubled(nn.Module):
    """A parametrization of one's own."""

    def forward(self, weight):
        return 2 * weight.tanh()


class Symmetric(nn.Module):
    """One whose parts have no rule."""

    def forward(self, weight):
        return weight.triu() + weight.triu(1).transpose(-1, -2)


def with_parametrization(layer: nn.Module, part: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", part)
    return layer


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning, match="deprecated"):
        return nn.utils.weight_norm(layer)


def pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", 0.5)


# What is done with each of three layers, and how many populations may be renumbered between them.
NORMS = {
    "weight norm": (parametrizations.weight_norm, 2),
    "weight norm over inputs": (lambda layer: parametrizations.weight_norm(layer, dim=1), 2),
    "weight norm of all": (lambda layer: parametrizations.weight_norm(layer, dim=None), 2),
    "weight norm by a hook": (old_weight_norm, 2),
    "one's own": (lambda layer: with_parametrization(layer, Doubled()), 2),
    "two": (
        lambda layer: with_parametrization(parametrizations.weight_norm(layer), Doubled()),
        2,
    ),
    "spectral norm": (parametrizations.spectral_norm, 0),
    "spectral norm by a hook": (nn.utils.spectral_norm, 0),
    "orthogonal": (parametrizations.orthogonal, 0),
    "pruned": (pruned, 0),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", NORMS)
def test_parametrized_layers_are_read(name, assert_renumbering_keeps_the_function):
    change, free = NORMS[name]
    layers = [change(layer) for layer in (lin(5, 6), lin(6, 7), lin(7, 1))]
    model = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])
    spec = assert_renumbering_keeps_the_function(model, torch.randn(3, 5))
    assert len(spec.populations) == free
    assert set(spec.names) == {name for name, _ in model.named_parameters()}


def test_length_and_direction_run_over_the_same_neurons():
    layers = [parametrizations.weight_norm(layer) for layer in (lin(5, 6), lin(6, 2))]
    spec = NetworkSpec.from_module(nn.Sequential(*layers))
    assert spec.axes["0.parametrizations.weight.original0"] == ("0", None)
    assert spec.axes["0.parametrizations.weight.original1"] == ("0", "in")
    assert spec.axes["1.parametrizations.weight.original1"] == ("out", "0")
    assert spec.axes["0.bias"] == ("0",)


def test_normed_convolutions_are_read(assert_renumbering_keeps_the_function):
    norm = parametrizations.weight_norm
    model = nn.Sequential(
        *(norm(nn.Conv1d(5, 6, 2)), nn.Tanh(), norm(nn.ConvTranspose1d(6, 4, 2), dim=1), nn.Tanh()),
        *(norm(nn.Conv1d(4, 4, 1, groups=2)), nn.Conv1d(4, 2, 1)),
    )
    spec = assert_renumbering_keeps_the_function(model, torch.randn(3, 5, 7))
    assert spec.populations == ("0",)
    assert NFNOptimizer(model).coverage().share == 1


def test_a_parametrization_without_rules_is_covered(assert_renumbering_keeps_the_function):
    model = nn.Sequential(with_parametrization(lin(5, 5), Symmetric()), nn.Tanh(), lin(5, 2))
    spec = assert_renumbering_keeps_the_function(model, torch.randn(3, 5))
    assert not spec.populations
    assert NFNOptimizer(model).coverage().share > 0.5


class Forward(nn.Module):
    def __init__(self, code):
        super().__init__()
        self.a, self.b, self.c = lin(5, 6), lin(6, 2), nn.Conv2d(1, 6, 2)
        self.w, self.scale = nn.Parameter(torch.randn(6, 5)), nn.Parameter(torch.randn(6))
        self.down, self.up = nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.randn(6, 3))
        self.register_buffer("mask", torch.rand(6, 5))
        self.pair = nn.Bilinear(6, 6, 4)
        self.of_pair = lin(4, 2)
        self.code = code

    def forward(self, x):
        return self.code(self, x)


def standardized(m, x):
    mean = m.c.weight.mean((1, 2, 3), keepdim=True)
    std = m.c.weight.std((1, 2, 3), keepdim=True)
    return m.b(
        F.conv2d(x[:, None, None].expand(-1, 1, 5, 5), (m.c.weight - mean) / std, m.c.bias).mean(
            (2, 3)
        )
    )


def adapted(m, x):
    return m.b((m.a(x) + x @ m.down.T @ m.up.T * 2.0).tanh())


def two_readings(m, x):
    hidden = m.a(x).tanh()
    return m.of_pair(m.pair(hidden, hidden * 2).tanh())


COMPUTED = {
    "scaled rows": (lambda m, x: m.b(F.linear(x, m.w * m.scale.unsqueeze(1)).tanh()), 1),
    "normalized rows": (lambda m, x: m.b(F.linear(x, m.w / m.w.norm(dim=1, keepdim=True))), 1),
    "standardized kernels": (standardized, 1),
    "masked": (lambda m, x: m.b(F.linear(x, m.w * m.mask)), 0),
    "adapter beside": (adapted, 2),
    "adapter inside": (lambda m, x: m.b(F.linear(x, m.w + m.up @ m.down).tanh()), 2),
    "bilinear": (two_readings, 1),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_weights_are_followed(name, assert_renumbering_keeps_the_function):
    code, free = COMPUTED[name]
    spec = assert_renumbering_keeps_the_function(Forward(code), torch.randn(3, 5))
    assert len(spec.populations) == free


def test_the_rank_of_an_adapter_is_a_population_of_its_own():
    spec = NetworkSpec.from_module(Forward(adapted))
    assert spec.axes["down"] == ("down", "in")
    assert spec.axes["up"] == ("a", "down")


class Rounded(nn.Module):
    """Rounds weights, in code that is not followed."""

    def forward(self, weight):
        levels = int(weight.abs().max() * 10)
        return (weight * levels).round() / levels


class Quantized(nn.Linear):
    def __init__(self, a, b):
        super().__init__(a, b)
        self.rounded = Rounded()

    def forward(self, x):
        return F.linear(x, self.rounded(self.weight), self.bias)


def test_a_weight_that_unknown_code_changes_is_read_as_itself(
    assert_renumbering_keeps_the_function,
):
    model = nn.Sequential(Quantized(5, 6), nn.ReLU(), Quantized(6, 2))
    spec = assert_renumbering_keeps_the_function(model, torch.randn(3, 5))
    assert spec.axes["0.weight"] == (spec.axes["0.bias"][0], "in")
    assert not spec.populations


def test_fake_quantized_weights_are_read(assert_renumbering_keeps_the_function):
    def quantized(m, x):
        weight = torch.fake_quantize_per_tensor_affine(m.w.float(), 0.1, 0, -128, 127).double()
        return m.b(F.linear(x, weight).relu())

    spec = assert_renumbering_keeps_the_function(Forward(quantized), torch.randn(3, 5))
    assert spec.axes["w"] == (spec.axes["b.weight"][1], "in")


def test_tensors_may_be_kept_under_names_with_dots():
    class Kept(nn.Module):
        """Holds the tensors of another network, under their names."""

        def __init__(self) -> None:
            super().__init__()
            self._parameters.update(lin(3, 5).named_parameters(prefix="first"))
            self._parameters.update(lin(5, 2).named_parameters(prefix="last"))

        def forward(self, x):
            first, last = (
                {n: getattr(self, f"{layer}.{n}") for n in ("weight", "bias")}
                for layer in ("first", "last")
            )
            return F.linear(F.linear(x, **first).relu(), **last)

    spec = NetworkSpec.from_module(Kept())

    assert spec.axes["last.weight"][1] == spec.axes["first.weight"][0]
