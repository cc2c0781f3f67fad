"""Models that hold other numbers than floats: complex weights, and frozen ones of integers."""

import pytest
import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, NFNOptimizer
from nfn_optim.optimizer import spec_of

NOTHING_KNOWN = NetworkSpec({}, {})  # all parameters are read alone
FUSED = pytest.mark.parametrize("fused", [None, False])


class Complex(nn.Module):
    """A map of complex numbers between layers of real ones."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Linear(6, 8)
        self.middle = nn.Parameter(torch.randn(3, 4, dtype=torch.cfloat, generator=generator))
        self.last = nn.Linear(3, 2)
        for param in (*self.first.parameters(), *self.last.parameters()):
            param.data = torch.randn(param.shape, generator=generator)

    def weight(self) -> Tensor:
        return self.middle

    def forward(self, x: Tensor) -> Tensor:
        x = torch.view_as_complex(self.first(x).unflatten(-1, (4, 2)))
        y: Tensor = self.last((x @ self.weight().mT).abs())
        return y


class Pairs(Complex):
    """The same function, whose weights are kept as pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Parameter(torch.view_as_real(self.middle.detach()).clone())

    def weight(self) -> Tensor:
        return torch.view_as_complex(self.middle)


class Quantized(nn.Module):
    """A frozen map of integers with a trained one beside it, as adapters have it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        frozen = torch.randint(-9, 9, (6, 6), dtype=torch.int8)
        self.base = nn.Parameter(frozen, requires_grad=False)
        self.down, self.up = nn.Linear(6, 2, bias=False), nn.Linear(2, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x @ self.base.float().T * 0.1 + self.up(self.down(x))
        return y


def train(model: nn.Module, optimizer: NFNOptimizer, seeds: range) -> None:
    for seed in seeds:
        optimizer.zero_grad()
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))
        model(x).square().mean().backward()
        optimizer.step()


@FUSED
def test_complex_parameters_take_the_steps_of_pairs_of_real_ones(fused):
    ours, theirs = Complex(), Pairs()
    for model in (ours, theirs):
        train(model, NFNOptimizer(model, spec=NOTHING_KNOWN, fused=fused), range(5))
    assert not torch.equal(ours.middle, Complex().middle)
    torch.testing.assert_close(torch.view_as_real(ours.middle), theirs.middle)
    torch.testing.assert_close(ours.first.weight, theirs.first.weight)


def test_complex_parameters_are_read_alone_and_the_others_in_their_place():
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2, dtype=torch.cfloat))
    rows = {row.name: row for row in NFNOptimizer(model).coverage().rows}
    assert rows["0.weight"].is_placed
    assert not rows["2.weight"].is_placed
    assert rows["2.weight"].why == "is complex"
    assert rows["2.weight"].shape == (2, 5, 2)


@FUSED
def test_a_state_of_complex_parameters_is_resumed(fused, tmp_path):
    through, first, second = Complex(), Complex(), Complex()
    train(through, NFNOptimizer(through, fused=fused), range(6))
    optimizer = NFNOptimizer(first, fused=fused)
    train(first, optimizer, range(3))
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(first.state_dict())
    resumed = NFNOptimizer(second, fused=fused)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(second, resumed, range(3, 6))
    for param, expected in zip(second.parameters(), through.parameters(), strict=True):
        torch.testing.assert_close(param, expected)


def test_conjugated_gradients_are_read_as_what_they_are():
    ours, theirs = (nn.Parameter(torch.ones(3, 2, dtype=torch.cfloat)) for _ in range(2))
    gradient = torch.randn(3, 2, dtype=torch.cfloat)
    ours.grad, theirs.grad = gradient.conj(), gradient.conj().resolve_conj()
    for param in (ours, theirs):
        NFNOptimizer([("weight", param)]).step()
    assert torch.equal(ours, theirs)


def test_frozen_integers_stay_and_what_is_beside_them_trains():
    model = Quantized()
    base, adapter = model.base.clone(), model.up.weight.detach().clone()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(3))
    assert torch.equal(model.base, base)
    assert not torch.equal(model.up.weight, adapter)
    again = NFNOptimizer(model)
    again.load_state_dict(optimizer.state_dict())
    assert len(again.state) == 2


def test_meta_training_names_complex_parameters():
    with pytest.raises(TypeError, match="'middle' is torch.complex64; meta-training"):
        spec_of(Complex())
