"""What an offline wandb run writes, read back from its files."""

import json
import math
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import (
    InnerConfig,
    MetaTrainer,
    RuleConfig,
    RunConfig,
    TruncatedBPTT,
    ValidationConfig,
)
from meta_train.support import Work
from meta_train.tasks import ModuleTask, Task, TaskFamily
from meta_train.training._monitor import Monitor
from meta_train.training._run import run_meta_training
from meta_train.training._tracking import check_tracking, tracking
from meta_train.training._trial import OUTER_STEPS


class Regressions(TaskFamily):
    """Small regressions."""

    def sample(self, generator: torch.Generator) -> Task:
        inputs = torch.randn(64, 4, generator=generator)
        return ModuleTask(
            lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
            F.mse_loss,
            (inputs, inputs[:, :2]),
            batch_size=16,
        )


family = Regressions()
CONFIG = RunConfig(
    outer_steps=20,
    inner=InnerConfig(runs=1, min_horizon=4, max_horizon=8, max_networks=1),
    estimator=TruncatedBPTT(truncation=2),
    rule=RuleConfig(hidden=4),
    validation=ValidationConfig(every=10, runs=2, steps=2),
)
BLOCK, HEADER = 32_768, 7  # of the record log that wandb writes


def records(path: Path) -> Iterator[bytes]:
    """The records of a `.wandb` file: blocks of chunks, each with checksum, length and kind."""
    data, position, record = path.read_bytes(), HEADER, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        record += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (1, 4):  # whole, or last of several
            yield record
            record = b""


def history(folder: Path) -> list[dict[str, object]]:
    wandb_internal_pb2 = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    points = []
    for path in folder.glob("wandb/offline-run-*/*.wandb"):
        for data in records(path):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                points.append(
                    {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}
                )
    return points


def written(folder: Path, count: int) -> list[dict[str, object]]:
    """The history as soon as it has `count` points: on a busy machine wandb's writer comes late."""
    for _ in range(100):
        points = history(folder)
        if len(points) >= count:
            break
        time.sleep(0.2)
    return points


def test_an_offline_run_holds_curves_and_tables(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is an optional extra")
    trainer = run_meta_training(
        tmp_path / "rule.safetensors", CONFIG, tasks=f"{__file__}:family", wandb="offline"
    )
    points = {point["_step"]: point for point in written(tmp_path, 3)}
    assert set(points) == {0, 10, 20}
    assert points.pop(0)["validation/meta_loss"] == pytest.approx(trainer.reference)
    for point in points.values():
        assert {"meta_loss", "outer_lr", "validation/meta_loss"} <= set(point)
    assert trainer.best is not None
    assert points[20]["validation/best"] == pytest.approx(trainer.best[0])
    (last,) = tmp_path.glob("wandb/offline-run-*/files/media/table/validation/tasks_20_*.json")
    table = json.loads(last.read_text())
    assert table["columns"] == ["outer_step", "task", "meta_loss"]
    mean = sum(row[2] for row in table["data"]) / CONFIG.validation.runs
    assert mean == pytest.approx(points[20]["validation/meta_loss"])


def test_tensorboard_holds_curves_and_tables(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is an optional extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "rule.safetensors"
    trainer = run_meta_training(out, CONFIG, tasks=f"{__file__}:family", tensorboard=True)
    events = EventAccumulator(str(tmp_path / "rule.tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("meta_loss")] == [10, 20]
    assert trainer.best is not None
    assert events.Scalars("validation/best")[-1].value == pytest.approx(trainer.best[0])
    (tag,) = [tag for tag in events.Tags()["tensors"] if tag.startswith("validation/tasks")]
    text = events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
    assert text.startswith("| outer_step | task | meta_loss |")


def test_curves_leave_out_steps_that_used_no_run() -> None:
    logged: list[float] = []

    class Recorder:
        def log(self, metrics: Mapping[str, float], step: int) -> None:
            logged.append(metrics["meta_loss"])

        def table(
            self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
        ) -> None: ...

    trainer, work = MetaTrainer(family, CONFIG), Work()
    work.plan(OUTER_STEPS, CONFIG.outer_steps)
    monitor = Monitor(trainer, work, print, trackers=[Recorder()])
    for trainer.step, loss in enumerate((math.nan, 1.0, 3.0, math.nan), 7):
        monitor.step(loss)
    assert logged == [2.0]


def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    with tracking("disabled", None, tmp_path, "run", {}) as trackers:
        assert trackers == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_installed_is_named_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("wandb", "tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match="wandb is not installed"):
        check_tracking("offline", False)
    with pytest.raises(ValueError, match=r"TensorBoard is not installed.*nfn-optim\[tensorboard\]"):
        check_tracking("disabled", True)
