"""Entries that never have a gradient stay where they are, whatever shares a matrix with them."""

import pytest
import torch
from torch import Tensor, nn

from nfn_optim import NFNOptimizer


class Gates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cell(x, self.cell(x))
        return y


MODELS = {
    "a small matrix": lambda: nn.Linear(12, 7),
    "an upright matrix": lambda: nn.Linear(5, 40),
    "bands of a large matrix": lambda: nn.Linear(150, 140),
    "a kernel": lambda: nn.Sequential(nn.Unflatten(1, (3, -1)), nn.Conv1d(3, 5, 2), nn.Flatten()),
    "matrices of gates": Gates,
    "double precision": lambda: nn.Linear(12, 7).double(),
    "half precision": lambda: nn.Linear(12, 7).bfloat16(),
}


def masked(model: nn.Module) -> dict[str, Tensor]:
    """Masks that gradients pass, of entries and of whole rows."""
    generator, masks = torch.Generator().manual_seed(2), {}
    for name, param in model.named_parameters():
        rows = (param.shape[0], *(1,) * (param.dim() - 1))
        entries = torch.rand(param.shape, generator=generator) > 0.5
        mask = entries & (torch.rand(rows, generator=generator) > 0.2)
        param.register_hook(lambda gradient, mask=mask: gradient * mask)
        masks[name] = mask
    return masks


def train(model: nn.Module, optimizer: NFNOptimizer, steps: int = 4) -> None:
    dtype = next(model.parameters()).dtype
    shape = (8, model.in_features if isinstance(model, nn.Linear) else 12)
    for seed in range(steps):
        generator = torch.Generator().manual_seed(seed)
        optimizer.zero_grad()
        model(torch.randn(shape, generator=generator).to(dtype)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("checkpoint", "fused"), [("default", None), ("default", False), ("untrained", None)]
)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_what_a_mask_takes_the_gradient_from_stays(make, checkpoint, fused):
    torch.manual_seed(0)
    model = make()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    masks = masked(model)
    train(model, NFNOptimizer(model, checkpoint=checkpoint, fused=fused))
    for name, param in model.named_parameters():
        moved = param.detach() != before[name]
        assert not moved[~masks[name]].any(), name
        assert moved.sum() >= 0.9 * masks[name].sum(), name


def test_pruned_weights_stay_pruned():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 3))
    kept = model[0].weight.abs() > model[0].weight.abs().median()
    model[0].weight.data *= kept
    model[0].weight.register_hook(lambda gradient: gradient * kept)
    train(model, NFNOptimizer(model), steps=20)
    assert torch.equal(model[0].weight != 0, kept)
