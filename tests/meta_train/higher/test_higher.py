"""The engine on torch.func against the same unroll through `higher`."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import register_higher, unroll
from meta_train.tasks import ModuleTask, stack
from nfn_optim import NFNOptimizer, NFNRule

higher = pytest.importorskip("higher", reason="higher is an optional extra")

from meta_train.higher._register import unroll_higher  # noqa: E402


def perturbed_rule() -> NFNRule:
    torch.manual_seed(1)
    rule = NFNRule()
    for weight in rule.write.parameters():
        nn.init.normal_(weight, std=0.2)
    rule.schedule.bias.data[0] = -4.0
    return rule


def make_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def make_cnn() -> nn.Module:
    layers = nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 4, 3)
    return nn.Sequential(*layers)


@pytest.mark.parametrize(("build", "shape"), [(make_mlp, (4,)), (make_cnn, (1, 6, 6))])
def test_meta_gradients_equal_those_of_higher(build, shape):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, *shape, generator=generator)
    targets = torch.randint(3, (50,), generator=generator)
    task = ModuleTask(build, F.cross_entropy, (inputs, targets), batch_size=8)
    rule = perturbed_rule()
    params = stack([task.init(generator) for _ in range(2)])
    batches = [stack([task.batch(generator) for _ in range(2)]) for _ in range(4)]
    ours = unroll(
        rule, task.loss, params, batches, rule.init(params, task.spec), first_order=False
    ).losses
    theirs = unroll_higher(rule, task, params, batches)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    theta = list(rule.parameters())
    first, second = (
        torch.autograd.grad(
            losses[1:].log().mean(), theta, allow_unused=True, materialize_grads=True
        )
        for losses in (ours, theirs)
    )
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert max(float(g.abs().max()) for g in first) > 1e-3


class Embedded(nn.Module):
    """A model with a table, and with a layer without neurons."""

    def __init__(self):
        super().__init__()
        self.embed, self.head, self.empty = nn.Embedding(7, 4), make_mlp(), nn.Linear(4, 0)

    def forward(self, x):
        embedded = self.embed(x).mean(1)
        return self.head(embedded) + self.empty(embedded).sum(1, keepdim=True)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_higher_takes_the_steps_of_the_optimizer():
    register_higher()
    torch.manual_seed(0)
    model, rule = Embedded(), perturbed_rule()
    x, y = torch.randint(7, (8, 3)), torch.randint(3, (8,))
    optimizer = NFNOptimizer(model, checkpoint=rule, lr_unit="adam")
    for group in optimizer.param_groups:
        group.update(weight_decay=0.1, lr=7e-4)
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    with higher.innerloop_ctx(model, optimizer) as (fmodel, diffopt):
        for _ in range(3):
            diffopt.step(F.cross_entropy(fmodel(x), y))
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    for after, expected in zip(fmodel.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(after, expected)


def test_a_state_of_other_weights_is_refused():
    model = make_mlp()
    saved = NFNOptimizer(model).state_dict()
    optimizer = NFNOptimizer(model, checkpoint=perturbed_rule())
    with pytest.raises(ValueError, match="this state was made with another rule"):
        optimizer.load_state_dict(saved)


def test_missing_higher_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "higher", None)
    with pytest.raises(ImportError, match=r"nfn-optim\[higher\]"):
        register_higher()


def test_registering_twice_is_fine():
    register_higher()
    register_higher()
    optimizer = NFNOptimizer(make_mlp())
    assert optimizer.rule is not None
