"""Losses in native code are those of torch, of the modules that it knows and of no others."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import FullES, InnerConfig, MetaLoss, TaskFamily, TruncatedBPTT, unroll
from meta_train.inner import InnerRun, Losses
from meta_train.tasks import ModuleTask, ScaledLoss, stack
from nfn_optim import NFNRule
from nfn_optim.native.chain import Chain

pytestmark = pytest.mark.usefixtures("native_chain")


def images(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))


def deep(activation) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 19), activation, nn.Linear(19, 33), activation, nn.Linear(33, 3)
    )


class Larger(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked() -> nn.Sequential:
    module = deep(nn.ReLU())
    module[2].register_forward_hook(lambda module, inputs, output: 2 * output)
    return module


def replaced() -> nn.Sequential:
    module = deep(nn.ReLU())
    module[0].forward = lambda x: 2 * F.linear(x, module[0].weight)
    return module


def tied() -> nn.Sequential:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Tanh(), nn.Linear(4, 3))


def frozen() -> nn.Sequential:
    module = deep(nn.ReLU())
    module[0].requires_grad_(False)
    return module


KNOWN = {
    "relu": (lambda: deep(nn.ReLU()), (4,)),
    "tanh": (lambda: deep(nn.Tanh()), (4,)),
    "gelu": (lambda: deep(nn.GELU()), (4,)),
    "silu": (lambda: deep(nn.SiLU()), (4,)),
    "sigmoid": (lambda: deep(nn.Sigmoid()), (4,)),
    "one layer": (lambda: nn.Linear(4, 3), (4,)),
    "no biases": (lambda: nn.Sequential(nn.Linear(4, 7, False), nn.Linear(7, 3, False)), (4,)),
    "nested": (lambda: nn.Sequential(nn.Identity(), nn.Sequential(deep(nn.ReLU()))), (4,)),
    "wide": (lambda: nn.Sequential(nn.Linear(70, 130), nn.ReLU(), nn.Linear(130, 17)), (70,)),
    "ends with an activation": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh()), (4,)),
    "flat images": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(18, 3)), (2, 3, 3)),
    "four axes": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), (2, 3, 2, 2)),
    "kernels": (lambda: images(nn.Conv2d(2, 3, 3, 2, 1), nn.ReLU(), nn.Conv2d(3, 5, 2)), (2, 7, 6)),
    "maps in a row": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(32, 3)),
        (2, 4, 6),
    ),
}
OTHERS = {
    "dropout": lambda: nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.Linear(6, 3)),
    "norm": lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)),
    "other gelu": lambda: deep(nn.GELU("tanh")),
    "activation first": lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 3)),
    "two activations": lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Tanh()),
    "subclass": lambda: nn.Sequential(Larger(4, 3)),
    "hook": hooked,
    "other forward": replaced,
    "tied": tied,
    "frozen": frozen,
}


def task_of(build, shape=(4,), loss_fn=F.cross_entropy):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, *shape, generator=generator)
    outputs = build()(x).shape
    if loss_fn is F.mse_loss:
        targets = torch.randn(outputs, generator=generator)
    else:
        targets = torch.randint(outputs[1], (50,), generator=generator)
    return ModuleTask(build, loss_fn, (x, targets), batch_size=9)


def start(task, networks=3, steps=5):
    generators = [torch.Generator().manual_seed(seed) for seed in range(networks)]
    params = stack([task.init(g) for g in generators])
    return params, [stack([task.batch(g) for g in generators]) for _ in range(steps)]


def both_ways(task, params, batch):
    """As trials find them, native and torch's."""
    losses = Losses(task.loss, task.carried).tried(params, batch)
    assert losses.chain is not None
    return losses, replace(losses, chain=None)


@pytest.fixture
def by_torch(monkeypatch):
    """Shows how often torch computed losses."""
    calls, computed = [], Losses._computed

    def count(self, *arguments):
        calls.append(self)
        return computed(self, *arguments)

    monkeypatch.setattr(Losses, "_computed", count)
    return calls


@pytest.mark.parametrize("loss_fn", [F.cross_entropy, F.mse_loss])
@pytest.mark.parametrize("name", KNOWN)
def test_losses_and_gradients_are_those_of_torch(name, loss_fn, by_torch):
    task = task_of(*KNOWN[name], loss_fn)
    params, (batch, *_) = start(task)
    ours, theirs = both_ways(task, params, batch)
    by_torch.clear()
    values, grads, _ = ours.differentiate(params, list(params), batch)
    assert not by_torch
    expected, of_torch, _ = theirs.differentiate(params, list(params), batch)
    assert by_torch
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(grads, of_torch, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_other_modules_are_left_to_torch(name):
    task = task_of(OTHERS[name])
    params, (batch, *_) = start(task)
    assert Losses(task.loss, task.carried).tried(params, batch).chain is None


def test_other_losses_are_left_to_torch():
    class Family(TaskFamily):
        def sample(self, generator):
            return task_of(KNOWN["relu"][0])

    class Own(ModuleTask):
        def loss(self, params, batch):
            return 2 * super().loss(params, batch)

    plain = task_of(KNOWN["relu"][0])
    for task in (
        ScaledLoss(Family()).sample(torch.Generator().manual_seed(0)),
        Own(plain.build, plain.loss_fn, plain.data),
        ModuleTask(plain.build, lambda y, t: F.cross_entropy(y, t), plain.data),
    ):
        params, (batch, *_) = start(task)
        assert Losses(task.loss, task.carried).tried(params, batch).chain is None


def meta_gradient(task, losses, params, batches, **options):
    torch.manual_seed(1)
    rule = NFNRule()
    for weight in rule.write.parameters():
        nn.init.normal_(weight, std=0.2)
    state = rule.init(params, task.spec)
    out = unroll(rule, losses, params, batches[:-2], state, averaged=True, **options)
    ends = [
        losses(p, b)[0] for p, b in zip((out.params, out.mean_params), batches[-2:], strict=True)
    ]
    total = torch.cat([out.losses[1:], torch.stack(ends)]).log().mean()
    theta = list(rule.parameters())
    return total.detach(), *torch.autograd.grad(
        total, theta, allow_unused=True, materialize_grads=True
    )


@pytest.mark.parametrize("options", [{}, {"remat": True}, {"first_order": False}], ids=str)
@pytest.mark.parametrize("name", ["tanh", "gelu", "kernels"])
def test_meta_gradients_are_those_of_torch(name, options):
    task = task_of(*KNOWN[name])
    params, batches = start(task)
    ours, theirs = (
        meta_gradient(task, losses, params, batches, **options)
        for losses in both_ways(task, params, batches[0])
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-2 * float(b.abs().max()) + 1e-7)


def test_second_derivatives_are_computed_by_torch(by_torch):
    task = task_of(*KNOWN["tanh"])
    params, (batch, *_) = start(task)
    losses, _ = both_ways(task, params, batch)
    points = {n: p.requires_grad_() for n, p in params.items()}
    by_torch.clear()
    _, grads, _ = losses.differentiate(points, list(points), batch, second_order=True)
    assert len(by_torch) == 1
    assert grads["0.weight"].requires_grad


def test_particles_see_the_same_batches(by_torch):
    task = task_of(*KNOWN["relu"])
    params, (batch, *_) = start(task)
    losses, theirs = both_ways(task, params, batch)
    many = {n: torch.stack([p, 2 * p]) for n, p in params.items()}
    by_torch.clear()
    values, _ = losses(many, batch, particles=True)
    assert not by_torch
    torch.testing.assert_close(values, theirs(many, batch, particles=True)[0])


@pytest.mark.parametrize("estimator", [TruncatedBPTT(4), FullES(pairs=1)], ids=["bptt", "es"])
def test_a_run_of_known_losses_never_asks_torch(estimator, by_torch):
    class Family(TaskFamily):
        def sample(self, generator):
            return task_of(KNOWN["relu"][0])

    config = InnerConfig(runs=1, min_horizon=4, max_horizon=4, max_networks=2)
    run = InnerRun(Family(), NFNRule(), config, 0)
    by_torch.clear()
    estimator.estimate(NFNRule(), run, MetaLoss())
    assert not by_torch


def change(batch, params, what):
    x, y = batch
    if what == "type":
        return (x.double(), y), {n: p.double() for n, p in params.items()}
    if what == "ignored class":
        return (x, torch.where(torch.arange(9) < 4, -100, y)), params
    if what == "shares of classes":
        return (x, F.one_hot(y, 3).float()), params
    assert what == "inputs with a gradient"
    return (x.clone().requires_grad_(), y), params


@pytest.mark.parametrize(
    "what", ["type", "ignored class", "shares of classes", "inputs with a gradient"]
)
def test_what_native_code_does_not_know_is_left_to_torch(what, by_torch):
    task = task_of(*KNOWN["relu"])
    params, (batch, *_) = start(task)
    losses, theirs = both_ways(task, params, batch)
    batch, params = change(batch, params, what)
    by_torch.clear()
    found = losses.differentiate(params, list(params), batch)
    assert len(by_torch) == 1
    torch.testing.assert_close(found, theirs.differentiate(params, list(params), batch))


def test_transforms_and_autocast_are_left_to_torch(by_torch):
    task = task_of(*KNOWN["relu"])
    params, (batch, *_) = start(task)
    losses, theirs = both_ways(task, params, batch)

    def total(params):
        return losses(params, batch)[0].sum()

    by_torch.clear()
    grads = torch.func.grad(total)(params)
    assert len(by_torch) == 1
    expected = theirs.differentiate(params, list(params), batch)[1]
    torch.testing.assert_close(grads, expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(losses(params, batch)[0], theirs(params, batch)[0])
    assert len(by_torch) == 4


@pytest.mark.parametrize("where", ["params", "inputs"])
def test_no_number_stays_none_and_other_networks_are_not_touched(where):
    task = task_of(*KNOWN["relu"])
    params, (batch, *_) = start(task)
    losses, _ = both_ways(task, params, batch)
    expected, grads, _ = losses.differentiate(params, list(params), batch)
    (params["0.bias"] if where == "params" else batch[0])[1, 0] = torch.nan
    values, found, _ = losses.differentiate(params, list(params), batch)
    assert values[1].isnan()
    assert found["0.weight"][1].isnan().all()
    for i in (0, 2):
        assert torch.equal(values[i], expected[i])
        assert all(torch.equal(found[n][i], g[i]) for n, g in grads.items())


def test_gradients_below_normal_numbers_are_zero():
    """Processors take a hundred times as long for such numbers."""
    chain = Chain.of(nn.Sequential(nn.Linear(4, 3)), (4,), has_classes=True)
    assert chain is not None
    params = {"0.weight": torch.ones(1, 3, 4), "0.bias": torch.zeros(1, 3)}
    inputs, targets = torch.full((1, 8, 4), 1e-38), torch.zeros(1, 8, dtype=torch.int64)
    found = chain.differentiate(params, inputs, targets, back=True)
    assert found is not None
    assert not found[1]["0.weight"].any()
    assert found[1]["0.bias"].all()
    assert torch.tensor(1e-39) * 0.5 > 0, "outside nothing has changed"
