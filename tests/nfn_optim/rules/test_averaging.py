import pytest
import torch

from nfn_optim import AdamRule, NetworkSpec, NFNRule, SGDRule
from nfn_optim.rules import NFNRuleConfig, RuleState, ScheduleFreeRule

SPEC = NetworkSpec({"w": ("out", "in")}, {"w": (6, 9)}, io=("in", "out"))


def gradients(steps: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(6, 9, generator=generator, dtype=torch.float64) for _ in range(steps)]


def start() -> torch.Tensor:
    return torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def run(rule, steps: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Parameters and what they head for after each step."""
    params, path, heading = {"w": start()}, [], []
    state = rule.init(params, SPEC)
    with torch.no_grad():
        for grad in gradients(steps):
            delta, state = rule(params, {"w": grad}, state)
            params = {"w": params["w"] + delta["w"]}
            path.append(params["w"])
            heading.append(rule.heading(params, state)["w"])
    return path, heading


def run_torch(make, steps: int) -> list[torch.Tensor]:
    param = torch.nn.Parameter(start())
    optimizer, path = make([param]), []
    for grad in gradients(steps):
        param.grad = grad.clone()
        optimizer.step()
        path.append(param.detach().clone())
    return path


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("beta", [0.9, 0.6])
def test_averaged_adam_without_momentum_is_schedule_free_adamw(beta, weight_decay):
    schedulefree = pytest.importorskip("schedulefree")
    rule = AdamRule(0.01, betas=(0.0, 0.999), weight_decay=weight_decay)

    def make(params):
        optimizer = schedulefree.AdamWScheduleFree(
            params, lr=0.01, betas=(beta, 0.999), weight_decay=weight_decay, foreach=False
        )
        optimizer.train()
        return optimizer

    ours, _ = run(ScheduleFreeRule(rule, beta=beta).double(), 20)
    for one, other in zip(ours, run_torch(make, 20), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_the_untrained_rule_without_memory_takes_muons_steps(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)  # Muon's own rounding aside

    def make(params):
        return torch.optim.Muon(
            params,
            lr=0.01 / 0.2,
            momentum=0.5,
            nesterov=False,
            weight_decay=0.0,
            adjust_lr_fn="match_rms_adamw",
        )

    config = NFNRuleConfig(
        initial_lr=0.01, relative=0.0, fading=0.0, first_share=1.0, steep=0, scaling=0.0
    )
    _, ours = run(NFNRule(config).double(), 20)
    for one, other in zip(ours, run_torch(make, 20), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_an_average_of_all_positions_is_their_mean():
    beta = 0.6
    path, positions = run(ScheduleFreeRule(SGDRule(0.1), beta=beta).double(), 7)
    mean = torch.stack(positions).mean(0)
    torch.testing.assert_close(path[-1], beta * mean + (1 - beta) * positions[-1])


def test_many_networks_are_averaged_as_each_is():
    rule = ScheduleFreeRule(SGDRule(0.1), rate=lambda step: 2 / (2 + step))
    params = {"w": torch.stack([start(), 2 * start()])}
    alone = [{"w": p} for p in params["w"]]
    state, states = rule.init(params, SPEC), [rule.init(p, SPEC) for p in alone]
    for grad in gradients(3):
        delta, state = rule(params, {"w": torch.stack([grad, -grad])}, state)
        params = {"w": params["w"] + delta["w"]}
        for i, g in enumerate((grad, -grad)):
            moved, states[i] = rule(alone[i], {"w": g}, states[i])
            alone[i] = {"w": alone[i]["w"] + moved["w"]}
    for i in range(2):
        torch.testing.assert_close(params["w"][i], alone[i]["w"])
    assert isinstance(state, RuleState)
