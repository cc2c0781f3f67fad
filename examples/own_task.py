"""How does a model of mine become a task to meta-train on, and does it pay? A recurrent network."""

import argparse

import torch
from torch import Tensor, nn

import meta_train as mt
from meta_train.tasks import ModuleTask, stack
from nfn_optim import AdamRule, UpdateRule, load_rule


class Smoother(nn.Module):
    """Reads a sequence with one linear cell and predicts how it goes on."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read, self.cell = nn.Linear(1, width), nn.Linear(width, width)
        self.write = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Sequences `(batch, steps)` to their next values `(batch, 1)`."""
        hidden = self.read(x[:, :1]).tanh()
        for step in range(1, x.shape[1]):
            hidden = (self.read(x[:, step : step + 1]) + self.cell(hidden)).tanh()
        return self.write(hidden)


class Waves(mt.TaskFamily):
    """Sums of two sines of random periods, read by smoothers of random width."""

    def sample(self, generator: torch.Generator) -> ModuleTask:
        """Draws a data set and a width."""
        periods, phases = torch.rand(2, 512, 2, 1, generator=generator)
        waves = torch.sin(torch.arange(9) * (0.5 + periods) + 6.3 * phases).sum(1)
        data = waves[:, :-1], waves[:, -1:]
        width = int(torch.randint(8, 33, (), generator=generator))
        return ModuleTask(lambda: Smoother(width), nn.functional.mse_loss, data)


family = Waves()


def final_loss(rule: UpdateRule, num_steps: int) -> float:
    """Mean training loss over the last tenth of training, on five tasks never trained on."""
    losses = []
    for seed in range(1_000_000, 1_000_005):
        generator = torch.Generator().manual_seed(seed)
        task = family.sample(generator)
        params = stack([task.init(generator)])
        batches = (stack([task.batch(generator)]) for _ in range(num_steps))
        with torch.no_grad():
            out = mt.unroll(rule, task.loss, params, batches, rule.init(params, task.spec))
        losses.append(out.losses[-max(1, num_steps // 10) :].mean())
    return float(torch.stack(losses).mean())


def main() -> None:
    """Goes on from weights in the package on the family above, and compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    is_smoke = parser.parse_args().smoke
    num_steps = 5 if is_smoke else 300
    config = mt.RunConfig(
        outer_steps=2 if is_smoke else 600,
        inner=mt.InnerConfig(runs=1, entries=200) if is_smoke else mt.InnerConfig(max_horizon=300),
        rule=mt.RuleConfig(init="small"),
        outer=mt.OuterConfig(lr=3e-4, warmup=20),
    )

    torch.set_num_threads(config.threads)
    trainer = mt.MetaTrainer(family, config)
    for _ in trainer.train():
        pass
    mine = trainer.result()  # save_rule(mine, path), then NFNOptimizer(model, checkpoint=path)

    adam = [final_loss(AdamRule(rate), num_steps) for rate in (1e-3, 3e-3, 1e-2, 3e-2)]
    rows = {
        "Adam, best of 4 rates": min(adam),
        "NFNOptimizer": final_loss(load_rule(), num_steps),
        f"after {config.outer_steps} outer steps on waves": final_loss(mine, num_steps),
    }
    print(f"{'optimizer':<34}{'final loss':>12}")
    for name, loss in rows.items():
        print(f"{name:<34}{loss:>12.5f}")


if __name__ == "__main__":
    main()
