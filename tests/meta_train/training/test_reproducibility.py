"""What the command of the weights `small` trains on may not change: its first tasks and losses."""

from dataclasses import asdict

import pytest
import torch

from meta_train import InnerConfig, MetaTrainer, RunConfig, TruncatedBPTT
from meta_train.tasks import default_family
from nfn_optim import read_card

TASKS = {  # seed: weights' shapes, batch size, scale of the initial weights, first loss
    0: ([(5, 1, 5, 5), (10, 5)], 29, 1.0, 2.3663082),
    1: ([(35, 64), (35, 35), (10, 35)], 40, 1.086188, 2.3218438),
    2: ([(72, 34), (72, 72), (72, 72), (2, 72)], 72, 1.0, 0.6908326),
    4: ([(19, 1, 5, 5), (10, 19, 16)], 27, 1.011554, 2.3392947),
    6: ([(14, 576), (46, 14), (23, 46), (41, 23), (10, 41)], 69, 1.0, 2.3106153),
}
RUNS = [  # seed, horizon, networks
    (398764591, 183, 21),
    (1478610112, 60, 24),
    (1537364731, 336, 29),
    (1491434855, 788, 20),
]
DIGITS = 2e-2  # relative: processors differ in the last bits, and inner runs amplify that
# In the middle of what torch and native code of each register width find.
META_LOSSES = [1.1499, 1.0984, -0.2920, -0.5385, 0.4522, 0.8763]
CHECKSUMS = {"read.neurons": 61.09158, "write.entry": 0.0034349, "schedule.bias": 4.29424}


@pytest.mark.parametrize("seed", TASKS)
def test_default_family_draws_the_same_tasks(seed):
    shapes, batch_size, init_scale, loss = TASKS[seed]
    generator = torch.Generator().manual_seed(seed)
    task = default_family.sample(generator)
    assert [task.spec.shapes[name] for name in task.spec.weights] == shapes
    assert task.batch_size == batch_size
    assert task.init_scale == pytest.approx(init_scale, abs=1e-5)
    first = task.loss(task.init(generator), task.batch(generator))
    assert float(first) == pytest.approx(loss, rel=1e-4)


def test_default_settings_train_the_same_way():
    trainer = MetaTrainer(default_family, RunConfig(inner=InnerConfig(runs=4)))
    assert [(run.seed, run.horizon, len(run.generators)) for run in trainer.pool.runs] == RUNS
    steps = trainer.train()
    assert [next(steps) for _ in META_LOSSES] == pytest.approx(META_LOSSES, rel=DIGITS)
    weights = trainer.rule.state_dict()
    for name, checksum in CHECKSUMS.items():
        assert float(weights[name].abs().sum()) == pytest.approx(checksum, rel=DIGITS)


def test_default_settings_are_those_of_the_first_phase_of_the_weights_small():
    config = RunConfig()
    settings = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in read_card("small")["stages"][0]["config"].items()
    }
    of_the_run = ("seed", "outer_steps", "save_every", "threads", "device")
    groups = (config.inner, config.rule, config.outer, config.estimator)
    now = {name: getattr(config, name) for name in of_the_run}
    now |= {k: v for group in groups for k, v in asdict(group).items()}
    now["loss_floor"] = config.meta_loss.floor
    since = {"initial_lr", "relative", "fading", "first_share", "centred", "fan_in", "fan_out"}
    since |= {"entries", "max_networks"}  # an outer step takes more networks, in as much time
    assert {k: v for k, v in now.items() if k not in since and settings[k] != v} == {}
    assert settings["estimator"] == "bptt"
    assert isinstance(config.estimator, TruncatedBPTT)
