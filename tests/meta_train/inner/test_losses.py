"""Losses of many networks: at once or in turn, with what networks carry and what they draw."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import FullES, InnerConfig, MetaLoss, TaskFamily, TruncatedBPTT, unroll
from meta_train.inner import InnerRun, Losses
from meta_train.tasks import ModuleTask, ReparametrizedWeights, stack
from nfn_optim import NFNRule
from nfn_optim.rules import NFNRuleConfig

WORDS = 11


class Recurrent(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed, self.gru = nn.Embedding(WORDS, 4), nn.GRU(4, 5, batch_first=True)
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(5, 3)

    def forward(self, ids):
        return self.head(self.dropout(self.gru(self.embed(ids))[0][:, -1]))


class Branching(nn.Module):
    """Its two ways read other parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.other = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        hidden = self.first(x)
        return self.one(hidden) if hidden.mean() > 0 else self.other(hidden)


class Assigning(nn.Module):
    """Keeps a mean, by a new tensor at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        y = self.layer(x)
        self.mean = 0.9 * self.mean + 0.1 * y.detach().mean(0)
        return y - self.mean


def normed() -> nn.Module:
    first = nn.Linear(4, 6, bias=False)
    return nn.Sequential(first, nn.BatchNorm1d(6), nn.GELU(), nn.Linear(6, 3))


def dropping(rate: float = 0.5) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Dropout(rate), nn.Tanh(), nn.Linear(6, 3))


def task_of(build, **options):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 4, generator=generator)
    if isinstance(build(), Recurrent):
        x = torch.randint(WORDS, (50, 7), generator=generator)
    labels = torch.randint(3, (50,), generator=generator)
    return ModuleTask(build, F.cross_entropy, (x, labels), batch_size=8, **options)


class Family(TaskFamily):
    def __init__(self, build):
        self.build = build

    def sample(self, generator):
        return task_of(self.build)


def start(task, networks=3, steps=4):
    generators = [torch.Generator().manual_seed(seed) for seed in range(networks)]
    params = stack([task.init(g) for g in generators])
    return params, [stack([task.batch(g) for g in generators]) for _ in range(steps)]


def tried(task, params, batches):
    return Losses(task.loss, task.carried).tried(params, batches[0])


def trained(rule, task, losses, params, batches, **options):
    state = rule.init({n: params[n] for n in task.spec.names}, task.spec)
    return unroll(rule, losses, params, batches, state, **options)


@pytest.mark.parametrize(
    ("build", "obstacle"),
    [
        (normed, ""),
        (dropping, ""),
        (Assigning, ""),
        (Recurrent, "Batching rule not implemented for aten::gru.input"),
        (Branching, "data-dependent control flow"),
    ],
)
def test_networks_take_turns_only_where_vmap_cannot(build, obstacle):
    task = task_of(build)
    losses = tried(task, *start(task))
    assert obstacle in losses.obstacle
    assert bool(obstacle) == bool(losses.obstacle)
    assert losses.is_random == (build is dropping)


def test_networks_take_turns_where_vmap_computes_other_numbers():
    class Wrong(torch.autograd.Function):
        generate_vmap_rule = False

        @staticmethod
        def forward(x):
            return x.clone()

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, grad):
            return grad

        @staticmethod
        def vmap(info, in_dims, x):
            return 2 * x, in_dims[0]

    task = task_of(normed)
    loss = task.loss
    task.loss = lambda params, batch: Wrong.apply(loss(params, batch))
    assert tried(task, *start(task)).obstacle == "torch.func.vmap computes other numbers"


@pytest.mark.parametrize("build", [normed, Assigning, lambda: dropping(0.0)])
def test_turns_and_vmap_give_the_same(build):
    task, rule = task_of(build), NFNRule()
    params, batches = start(task)
    with torch.no_grad():
        both = [
            trained(rule, task, Losses(task.loss, task.carried, obstacle=why), params, batches)
            for why in ("", "asked to")
        ]
    torch.testing.assert_close(both[0].losses, both[1].losses)
    torch.testing.assert_close(both[0].params, both[1].params, rtol=1e-3, atol=1e-5)


def test_every_network_carries_its_own_statistics():
    task, rule = task_of(normed), NFNRule()
    params, batches = start(task)
    out = trained(rule, task, tried(task, params, batches), params, batches)
    assert out.params["1.num_batches_tracked"].tolist() == [4, 4, 4]
    means = out.params["1.running_mean"]
    assert not torch.equal(means[0], means[1])
    assert torch.equal(params["1.running_mean"], torch.zeros(3, 6))
    assert not means.requires_grad
    assert torch.equal(task.module[1].running_mean, torch.zeros(6))


def test_units_of_the_weights_leave_what_is_carried():
    plain = task_of(Assigning)
    units = ReparametrizedWeights(Family(Assigning), low=0.5, high=0.5)
    other = units.sample(torch.Generator().manual_seed(0))
    means = []
    for task in (plain, other):
        params, batches = start(task, steps=1)
        losses = tried(task, params, batches)
        means.append(losses(params, batches[0])[1]["mean"])
    torch.testing.assert_close(means[0], means[1])


def test_frozen_parameters_stay_and_are_passed_on():
    def build():
        model = normed()
        model[0].requires_grad_(False)
        return model

    task, rule = task_of(build), NFNRule()
    params, batches = start(task)
    out = trained(rule, task, tried(task, params, batches), params, batches)
    assert torch.equal(out.params["0.weight"], params["0.weight"])
    assert not torch.equal(out.params["3.weight"], params["3.weight"])


def test_parameters_without_a_gradient_stay():
    class Spare(nn.Linear):
        def __init__(self):
            super().__init__(4, 3)
            self.spare = nn.Parameter(torch.ones(2))

    task, rule = task_of(Spare), NFNRule()
    params, batches = start(task)
    out = trained(rule, task, tried(task, params, batches), params, batches)
    assert torch.equal(out.params["spare"], params["spare"])
    assert out.state.slots["weight"]["step"].min() == 4
    assert out.state.slots["spare"]["step"].max() == 0


@pytest.mark.parametrize("build", [dropping, lambda: Recurrent(0.5)])
def test_dropout_follows_the_generator_and_differs_between_networks(build):
    task, rule = task_of(build), NFNRule()
    params, batches = start(task)
    first = {n: p[:1].expand_as(p) for n, p in params.items()}
    same = [tuple(x[:1].expand_as(x) for x in batch) for batch in batches]
    losses = tried(task, first, same)
    assert losses.is_random

    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return trained(rule, task, losses, first, same, generator=generator).losses.detach()

    before = torch.get_rng_state()
    a, again, b = run(0), run(0), run(1)
    assert torch.equal(a, again)
    assert not torch.equal(a, b)
    assert len(set(a[0].tolist())) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_random_numbers_of_python_follow_the_generator_too():
    class Depth(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.last(x + self.first(x) if random.random() > 0.5 else x)

    task, rule = task_of(Depth), NFNRule()
    params, batches = start(task)
    losses = tried(task, params, batches)
    assert losses.is_random

    def run():
        generator = torch.Generator().manual_seed(0)
        return trained(rule, task, losses, params, batches, generator=generator).losses

    assert torch.equal(run(), run())


@pytest.mark.parametrize("build", [dropping, lambda: Recurrent(0.5), normed])
def test_a_run_resumes_bit_for_bit(build):
    rule, config = NFNRule(), InnerConfig(runs=1, min_horizon=20, max_horizon=20, max_networks=2)
    estimator, meta_loss = TruncatedBPTT(4), MetaLoss()
    run = InnerRun(Family(build), rule, config, 0)
    estimator.estimate(rule, run, meta_loss)
    saved = run.state_dict()
    expected = estimator.estimate(rule, run, meta_loss)
    other = InnerRun(Family(build), rule, config, 0)
    other.load_state_dict(saved)
    found = estimator.estimate(rule, other, meta_loss)
    assert found.loss == expected.loss
    assert all(torch.equal(found.grads[n], g) for n, g in expected.grads.items())


@pytest.mark.parametrize("build", [dropping, lambda: Recurrent(0.5), normed, Branching])
def test_particles_draw_alike_and_carry_their_own(build):
    rule, config = NFNRule(), InnerConfig(runs=1, min_horizon=4, max_horizon=4, max_networks=2)
    run = InnerRun(Family(build), rule, config, 0)
    FullES(std=1e-12, pairs=1).estimate(rule, run, MetaLoss())
    for name, param in run.params.items():  # as good as no perturbation
        torch.testing.assert_close(param[0], param[1], rtol=1e-3, atol=1e-5, msg=name)
    if build is normed:
        assert run.params["1.num_batches_tracked"].tolist() == [[4, 4], [4, 4]]


def test_particles_convolve_as_one_by_one():
    def loss(params, batch):
        return F.conv2d(batch, params["kernel"], params["bias"], padding=1).square().mean()

    generator = torch.Generator().manual_seed(0)
    shapes = {"kernel": (2, 3, 4, 2, 3, 3), "bias": (2, 3, 4)}
    params = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
    batch = torch.randn(3, 5, 2, 6, 6, generator=generator)
    points = {n: p.requires_grad_() for n, p in params.items()}
    found, _ = Losses(loss)(points, batch, particles=True)
    one_by_one = [Losses(loss)({n: p[i] for n, p in points.items()}, batch)[0] for i in (0, 1)]
    expected = torch.stack(one_by_one)
    torch.testing.assert_close(found, expected)
    grads = [torch.autograd.grad(v.sum(), list(points.values())) for v in (found, expected)]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("build", [Recurrent, normed, dropping])
def test_meta_gradient_equals_finite_differences(build):
    torch.manual_seed(1)
    task = task_of(lambda: build().double())
    config = NFNRuleConfig(first_share=1.0, scaling=0.0)  # both read gradients as constants
    rule = NFNRule(config).double()
    for weight in rule.write.parameters():
        nn.init.normal_(weight, std=0.2)
    params, batches = start(task, networks=2)
    batches = [(x.double() if x.is_floating_point() else x, y) for x, y in batches]
    losses = tried(task, params, batches)

    def meta_loss():
        generator = torch.Generator().manual_seed(0)
        options = {"first_order": False, "generator": generator}
        return trained(rule, task, losses, params, batches, **options).losses[1:].log().mean()

    theta = list(rule.parameters())
    grads = torch.autograd.grad(meta_loss(), theta, allow_unused=True, materialize_grads=True)
    generator = torch.Generator().manual_seed(7)
    way = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in theta]
    slope = sum((g * d).sum() for g, d in zip(grads, way, strict=True))
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for t, d in zip(theta, way, strict=True):
                t += sign * 1e-6 * d
            values.append(meta_loss())
    torch.testing.assert_close(slope, (values[0] - values[1]) / 2e-6, rtol=1e-4, atol=1e-7)


def test_what_one_network_raises_is_passed_on():
    task = task_of(normed)
    params, batches = start(task)

    def loss(params, batch):
        raise KeyError("scene_17")

    with pytest.raises(KeyError, match="scene_17"):
        Losses(loss, task.carried).tried(params, batches[0])


def test_evaluation_is_of_a_module_that_neither_drops_nor_reads_the_batch():
    task = task_of(lambda: nn.Sequential(normed(), nn.Dropout(0.5)))
    data = (task.data[0][:20], task.data[1][:20])
    task.test_data = data
    params = task.init(torch.Generator().manual_seed(0))
    params["0.1.running_mean"] += 1.0
    model = task.build()
    model.load_state_dict(params)
    right = (model.eval()(data[0]).argmax(1) == data[1]).float().mean()
    assert task.evaluate(params)["test_accuracy"] == right
    assert task.module.training


@pytest.mark.parametrize(
    ("outputs", "targets", "name"),
    [
        ((6, 1), torch.randn(6, 1), "test_loss"),
        ((6, 3), torch.arange(6) % 3, "test_accuracy"),
        ((6, 3, 4), torch.zeros(6, 4, dtype=torch.long), "test_accuracy"),
        ((6, 4, 3), torch.zeros(6, 4, dtype=torch.long), "test_accuracy"),
        ((6, 4), torch.zeros(6, 4, dtype=torch.long), "test_loss"),
    ],
)
def test_an_accuracy_is_reported_of_classes_only(outputs, targets, name):
    class Constant(nn.Linear):
        def forward(self, x):
            return self.weight.sum() + torch.zeros(outputs)

    data = torch.zeros(6, 2), targets
    task = ModuleTask(
        lambda: Constant(2, 2), lambda out, _: out.square().mean(), data, test_data=data
    )
    assert set(task.evaluate(task.init(torch.Generator().manual_seed(0)))) == {name}
