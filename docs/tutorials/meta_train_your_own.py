# %% [markdown]
# # Meta-train for your own problem
#
# Someone who trains the same kind of network again and again can train the optimizer itself on
# that kind of problem. Here the problem is regression: small MLPs that fit a sum of sines. We
# start from the weights `small` in the package, fine-tune them on many such problems, and compare
# on problems that were never trained on. The whole script takes about two minutes on one core.
# The guide to the same on the command line is [Train an optimizer of your
# own](../training-your-own.md).

# %%
import os
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from torch import nn

from meta_train import (
    FINE_TUNING,
    Contender,
    MetaTrainer,
    RuleConfig,
    TaskFamily,
    evaluate,
    evaluation_tasks,
)
from meta_train.evaluation import find_contender
from meta_train.tasks import ModuleTask
from nfn_optim import NFNOptimizer, save_rule

IS_QUICK = "TUTORIAL_QUICK" in os.environ  # a few steps, for tests
OUTER_STEPS, STEPS, TASKS = (2, 20, 1) if IS_QUICK else (300, 200, 4)

# %% [markdown]
# ## A family of tasks
#
# A *task* is the training problem of one network: how it starts, its batches, its loss. A
# *family* draws tasks. All randomness comes from the generator, so that a seed always means the
# same task. Draw more widely than you need: the optimizer comes to rely on whatever never
# changes.


# %%
def choose(values: tuple[int, ...], generator: torch.Generator) -> int:
    return values[int(torch.randint(len(values), (), generator=generator))]


class Sines(TaskFamily):
    def sample(self, generator: torch.Generator) -> ModuleTask:
        inputs = torch.randn(2_000, 8, generator=generator)
        waves = torch.randn(8, 4, generator=generator) / 8**0.5
        phases = 6.3 * torch.rand(4, generator=generator)
        targets = torch.sin(2 * inputs @ waves + phases).sum(1, keepdim=True)
        width = choose((16, 32, 64, 128), generator)
        activation = (nn.Tanh, nn.ReLU, nn.GELU)[choose((0, 1, 2), generator)]
        return ModuleTask(
            lambda: nn.Sequential(nn.Linear(8, width), activation(), nn.Linear(width, 1)),
            nn.functional.mse_loss,
            (inputs, targets),
            batch_size=choose((32, 64, 128, 256), generator),
        )


# %% [markdown]
# ## Meta-training
#
# `FINE_TUNING` are the settings that `nfn-optim train --init` takes: 300 outer steps at a low
# rate. An outer step trains some networks for a while, and asks which change of the optimizer
# would have brought their losses down. The meta-loss is the mean of log losses, so it is
# comparable across tasks; smaller is better. It is noisy, because every step sees other tasks.

# %%
config = replace(FINE_TUNING, outer_steps=OUTER_STEPS, rule=RuleConfig(init="small"))
trainer = MetaTrainer(Sines(), config)
for step, meta_loss in enumerate(trainer.train()):
    if step % 60 == 0:
        print(f"outer step {step}, meta-loss {meta_loss:.3f}")
save_rule(trainer.result(), "sines.safetensors", trainer.card("meta_train_your_own.py"))

# %% [markdown]
# From now on `NFNOptimizer(model, checkpoint="sines.safetensors")` trains with it.
#
# ## Did it help?
#
# `evaluate` draws tasks that meta-training never sees. It always shows the rule that has learned
# nothing (`untrained`) beside ours, and any `Contender` that we add. AdamW gets five learning
# rates for every task, each constant and with a cosine, and the best counts.

# %%
tasks = evaluation_tasks(Sines(), name="sines", draws=TASKS, num_steps=STEPS)
small = Contender(
    name="small",
    schedules=("constant",),
    make_optimizer=lambda model, rate, steps: NFNOptimizer(model, checkpoint="small"),
)
result = evaluate(
    "sines.safetensors",
    tasks,
    peers=[find_contender("adamw"), small],
    num_seeds=1,
    costs=False,
    extensions=0,
)
names = {"sines": "fine-tuned", "small": "small", "untrained": "untrained", "adamw": "tuned AdamW"}
for task in tasks:
    ends = (
        f"{label} {result.row(task.name, name).end_loss.mean:.4f}" for name, label in names.items()
    )
    print(f"{task.name}, loss at the end: {', '.join(ends)}")

# %%
figure, axes = plt.subplots(1, TASKS, figsize=(3 * TASKS, 3.2), squeeze=False, layout="constrained")
for ax, task in zip(axes[0], tasks, strict=True):
    for name, label in names.items():
        curve = result.row(task.name, name).curve
        ax.plot(curve.steps, curve.mean, label=label, linewidth=2.5 if name == "sines" else 1.2)
    ax.set(title=task.name, xlabel="step", yscale="log")
axes[0][0].set_ylabel("training loss")
handles = axes[0][0].get_legend_handles_labels()
figure.legend(*handles, loc="outside upper center", ncols=len(names))
figure.savefig("meta_train_your_own.png", dpi=110)

# %% [markdown]
# ![Training losses on four held-out regressions, four curves each](meta_train_your_own.png)
#
# It helped, and here it did not pay. Fine-tuning brought the end of `small` down on all four tasks,
# by 7 to 15 percent. But the rule that has learned nothing ends lower still on three of them. So
# always look at `untrained`, too. On some families
# [fine-tuning did harm](../training-your-own.md#what-fine-tuning-buys). Four tasks with one seed
# are few: `nfn-optim evaluate` takes more of each ([how](../evaluation.md)).
