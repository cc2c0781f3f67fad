import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import unroll
from meta_train.tasks import ModuleTask, stack
from nfn_optim import NFNOptimizer, NFNRule, save_rule
from nfn_optim.rules import NFNRuleConfig


def make_task() -> ModuleTask:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 4, generator=generator)
    return ModuleTask(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)),
        F.cross_entropy,
        (inputs, inputs[:, :3].argmax(1)),
        batch_size=8,
    )


def perturbed_rule(**config: float) -> NFNRule:
    torch.manual_seed(1)
    rule = NFNRule(NFNRuleConfig(**config))
    for weight in rule.write.parameters():
        nn.init.normal_(weight, std=0.2)
    rule.schedule.bias.data[0] = -4.0
    return rule


def double(tree):
    return torch.utils._pytree.tree_map(lambda t: t.double() if t.is_floating_point() else t, tree)


def start(task, networks=2, steps=4):
    generators = [torch.Generator().manual_seed(seed) for seed in range(networks)]
    params = stack([task.init(g) for g in generators])
    batches = [stack([task.batch(g) for g in generators]) for _ in range(steps)]
    return params, batches


def test_unroll_equals_the_optimizer_on_every_network(tmp_path):
    task, rule = make_task(), perturbed_rule()
    save_rule(rule, tmp_path / "rule.safetensors")
    params, batches = start(task)
    with torch.no_grad():
        out = unroll(rule, task.loss, params, batches, rule.init(params, task.spec))
    for i in range(2):
        model = task.build()
        model.load_state_dict({n: p[i] for n, p in params.items()})
        optimizer = NFNOptimizer(model, checkpoint=tmp_path / "rule.safetensors")
        for step, (x, y) in enumerate(batches):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[i]), y[i])
            torch.testing.assert_close(out.losses[step, i], loss.detach())
            loss.backward()
            optimizer.step()
        for name, param in model.named_parameters():
            torch.testing.assert_close(out.params[name][i], param.detach(), rtol=1e-3, atol=1e-5)


class Gap(nn.Module):
    """A hidden layer without neurons, and one beside it that has some."""

    def __init__(self):
        super().__init__()
        self.gap = nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 3))
        self.full = nn.Linear(4, 3)

    def forward(self, x):
        return self.gap(x) + self.full(x)


class Nothing(nn.Module):
    """No neuron at all."""

    def __init__(self):
        super().__init__()
        self.empty = nn.Linear(4, 0)

    def forward(self, x):
        return self.empty(x).sum(1, keepdim=True) + x[:, :3]


def make_gap():
    return nn.Sequential(nn.Linear(4, 0), nn.ReLU(), nn.Linear(0, 3))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("build", [Gap, Nothing, make_gap])
@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("first_order", [False, True])
def test_empty_parameters_are_left_as_they_are(build, remat, first_order):
    task, rule = make_task(), perturbed_rule()
    task = ModuleTask(build, F.cross_entropy, task.data, batch_size=8)
    params, batches = start(task)
    options = {"remat": remat, "first_order": first_order, "averaged": True}
    state = rule.init(params, task.spec)
    out = unroll(rule, task.loss, params, batches, state, **options)
    alone = NFNOptimizer(model := build(), checkpoint=rule)
    model.load_state_dict({n: p[0] for n, p in params.items()})
    for x, y in batches:
        alone.zero_grad()
        F.cross_entropy(model(x[0]), y[0]).backward()
        alone.step()
    for name, param in model.named_parameters():
        torch.testing.assert_close(out.params[name][0], param, rtol=1e-3, atol=1e-5)
        assert out.mean_params[name].shape == params[name].shape
    if build is not Nothing:
        grads = gradients(out.losses[1:].mean(), rule)
        assert all(g.isfinite().all() for g in grads)
        assert max(g.abs().max() for g in grads) > 0


def meta_loss(rule, task, params, batches, first_order=False):
    out = unroll(
        rule, task.loss, params, batches, rule.init(params, task.spec), first_order=first_order
    )
    return out.losses[1:].log().mean()


def gradients(loss, rule):
    return torch.autograd.grad(
        loss, list(rule.parameters()), allow_unused=True, materialize_grads=True
    )


@pytest.mark.parametrize(
    ("config", "rtol"),
    [({"scaling": 0.0}, 1e-5), ({}, 1e-3)],  # what gradients ask for is read as a constant
)
def test_meta_gradient_equals_finite_differences(config, rtol):
    task, rule = make_task(), perturbed_rule(**config).double()
    params, batches = double(start(task))
    loss = meta_loss(rule, task, params, batches)
    theta = list(rule.parameters())
    grads = gradients(loss, rule)
    generator = torch.Generator().manual_seed(7)
    for _ in range(3):
        direction = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in theta]
        slope = sum((g * d).sum() for g, d in zip(grads, direction, strict=True))
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for t, d in zip(theta, direction, strict=True):
                    t += sign * 1e-6 * d
                values.append(meta_loss(rule, task, params, batches))
                for t, d in zip(theta, direction, strict=True):
                    t -= sign * 1e-6 * d
        torch.testing.assert_close(slope, (values[0] - values[1]) / 2e-6, rtol=rtol, atol=1e-8)


def test_first_order_gradient_points_the_same_way():
    task, rule = make_task(), perturbed_rule().double()
    params, batches = double(start(task))
    flat = [
        torch.cat(
            [g.flatten() for g in gradients(meta_loss(rule, task, params, batches, fo), rule)]
        )
        for fo in (True, False)
    ]
    assert torch.cosine_similarity(*flat, dim=0) > 0.95
    assert not torch.equal(*flat)


def test_two_halves_equal_one_unroll():
    task, rule = make_task(), perturbed_rule()
    params, batches = start(task)
    with torch.no_grad():
        whole = unroll(rule, task.loss, params, batches, rule.init(params, task.spec))
        half = unroll(rule, task.loss, params, batches[:2], rule.init(params, task.spec))
        rest = unroll(rule, task.loss, half.params, batches[2:], half.state)
    for name, param in whole.params.items():
        assert torch.equal(param, rest.params[name])


def test_mean_params_average_what_the_rule_headed_for_after_each_step():
    task, rule = make_task(), perturbed_rule()
    params, batches = start(task)

    def reached(steps, averaged=False):
        state = rule.init(params, task.spec)
        return unroll(rule, task.loss, params, batches[:steps], state, averaged=averaged)

    with torch.no_grad():
        mean = reached(4, averaged=True).mean_params
        ways = [reached(steps) for steps in range(1, 5)]
    for name in params:
        headings = [rule.heading(way.params, way.state)[name] for way in ways]
        expected = torch.stack(headings).mean(0)
        torch.testing.assert_close(mean[name], expected)
    assert not any(way.mean_params for way in ways)


def test_lr_scales_each_network_and_step():
    task, rule = make_task(), perturbed_rule()
    params, batches = start(task)
    with torch.no_grad():
        out = unroll(
            rule,
            task.loss,
            params,
            batches,
            rule.init(params, task.spec),
            lr=lambda k: torch.tensor([1.0, 0.0]),
        )
    assert torch.equal(out.params["0.weight"][1], params["0.weight"][1])
    assert not torch.equal(out.params["0.weight"][0], params["0.weight"][0])


def test_unroll_without_batches_is_an_error():
    task, rule = make_task(), NFNRule()
    params, _ = start(task)
    with pytest.raises(ValueError, match="unroll got no batches"):
        unroll(rule, task.loss, params, [], rule.init(params, task.spec))


def test_loss_that_is_no_scalar_is_an_error():
    task, rule = make_task(), NFNRule()
    params, batches = start(task)

    def loss(params, batch):
        return F.cross_entropy(
            torch.func.functional_call(task.module, params, (batch[0],)), batch[1], reduction="none"
        )

    with pytest.raises(ValueError, match=r"one scalar for one network; got shape \(8,\)"):
        unroll(rule, loss, params, batches, rule.init(params, task.spec))


def test_vmapped_networks_equal_networks_one_by_one():
    task, rule = make_task(), perturbed_rule().double()
    params, batches = double(start(task))
    with torch.no_grad():
        both = unroll(rule, task.loss, params, batches, rule.init(params, task.spec))
        for i in range(2):
            own = {n: p[i : i + 1] for n, p in params.items()}
            alone = [tuple(t[i : i + 1] for t in batch) for batch in batches]
            out = unroll(rule, task.loss, own, alone, rule.init(own, task.spec))
            torch.testing.assert_close(both.losses[:, i], out.losses[:, 0])
            for name, param in out.params.items():
                torch.testing.assert_close(both.params[name][i], param[0])


@pytest.mark.parametrize("first_order", [True, False])
def test_rematerialized_gradients_are_the_same(first_order):
    task, rule = make_task(), perturbed_rule()
    params, batches = start(task, steps=6)

    def gradient(remat):
        out = unroll(
            rule,
            task.loss,
            params,
            batches,
            rule.init(params, task.spec),
            first_order=first_order,
            remat=remat,
        )
        return gradients(out.losses[1:].log().mean(), rule)

    for plain, again in zip(gradient(False), gradient(True), strict=True):
        assert torch.equal(plain, again)


MEMORY = """
import re, torch
from pathlib import Path
from torch import nn
from meta_train import unroll
from meta_train.tasks import ModuleTask, stack
from nfn_optim import NFNRule
from nfn_optim.rules import NFNRuleConfig

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
data = torch.randn(100, 64, generator=generator), torch.randint(10, (100,), generator=generator)
task = ModuleTask(
    lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
    nn.functional.cross_entropy, data, batch_size=8,
)
rule = NFNRule(NFNRuleConfig(hidden=64))
params, batch = stack([task.init(generator)] * 4), stack([task.batch(generator)] * 4)

def peak(steps, remat):
    state = rule.init(params, task.spec)
    out = unroll(rule, task.loss, params, [batch] * steps, state, remat=remat)
    out.losses.log().mean().backward()
    return re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]

print(peak(5, True), peak(30, True), peak(30, False))  # each is at least the one before
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's peak of memory")
def test_rematerialized_memory_is_flat_in_the_length():
    command, of_torch = [sys.executable, "-c", MEMORY], {**os.environ, "NFN_NATIVE": "0"}
    out = subprocess.run(command, env=of_torch, capture_output=True, text=True, check=True)
    short, long, kept = map(int, out.stdout.split())
    assert long - short < 0.3 * (kept - short)  # parameters and slots of every step stay
