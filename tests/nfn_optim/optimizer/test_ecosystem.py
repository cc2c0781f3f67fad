"""NFNOptimizer inside the packages that train other people's models, each run for real."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from nfn_optim import NFNOptimizer

EXTRA = "not installed: pip install 'nfn-optim[ecosystem]'"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.ReLU(), nn.Linear(12, 3))


def data() -> TensorDataset:
    x = torch.randn(128, 6, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x[:, :3].argmax(-1))


def loss_of(model: nn.Module) -> float:
    x, y = data().tensors
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(x), y))


@pytest.fixture(autouse=True)
def _their_warnings():
    """Warnings of these packages about themselves are not ours to fix; ours stay errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="NFNOptimizer")
        yield


def test_lightning_automatic_optimization(tmp_path: Path):
    lightning = pytest.importorskip("lightning", reason=f"lightning {EXTRA}")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()
            self.losses: list[float] = []

        def training_step(self, batch, _):
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            optimizer = NFNOptimizer(self.net)
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
            }

    def trainer(epochs: int) -> "lightning.Trainer":
        return lightning.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )

    module, first = Module(), trainer(5)
    first.fit(module, DataLoader(data(), 32))
    assert loss_of(module.net) < 0.95 * loss_of(network())
    assert float(first.optimizers[0].stats()["steps"]) == 20
    first.save_checkpoint(tmp_path / "run.ckpt")
    resumed, second = Module(), trainer(7)
    second.fit(resumed, DataLoader(data(), 32), ckpt_path=tmp_path / "run.ckpt")
    assert float(second.optimizers[0].stats()["steps"]) == 28
    assert loss_of(resumed.net) < loss_of(module.net)


class Rows(Dataset):
    """The data as the dictionaries that a Trainer wants."""

    def __len__(self) -> int:
        return 128

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        x, y = data()[index]
        return {"x": x, "labels": y}


class WithLoss(nn.Module):
    """A model that returns its loss, as those of transformers do."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x, labels=None):
        logits = self.net(x)
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_hugging_face_trainer_with_a_custom_optimizer(tmp_path: Path):
    transformers = pytest.importorskip("transformers", reason=f"transformers {EXTRA}")
    pytest.importorskip("accelerate", reason=f"accelerate {EXTRA}")

    def trainer(epochs: int) -> "transformers.Trainer":
        model = WithLoss()
        optimizer = NFNOptimizer(model)
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=epochs,
            per_device_train_batch_size=32,
            use_cpu=True,
            report_to=[],
            save_strategy="epoch",
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=False,
        )
        scheduler = transformers.get_cosine_schedule_with_warmup(optimizer, 2, 4 * epochs)
        return transformers.Trainer(
            model, arguments, train_dataset=Rows(), optimizers=(optimizer, scheduler)
        )

    first = trainer(5)
    first.train()
    assert loss_of(first.model.net) < 0.95 * loss_of(network())
    second = trainer(7)
    second.train(resume_from_checkpoint=True)
    optimizer = getattr(second.optimizer, "optimizer", second.optimizer)
    assert optimizer.stats()["steps"] == 28


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate(tmp_path: Path, precision: str):
    accelerate = pytest.importorskip("accelerate", reason=f"accelerate {EXTRA}")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerate.Accelerator(
        cpu=True, mixed_precision=precision, gradient_accumulation_steps=2
    )
    model = network()
    optimizer = NFNOptimizer(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 100)
    model, optimizer, loader, scheduler = accelerator.prepare(
        model, optimizer, DataLoader(data(), 16), scheduler
    )
    for _ in range(6):
        for x, y in loader:
            with accelerator.accumulate(model):
                optimizer.zero_grad()
                accelerator.backward(nn.functional.cross_entropy(model(x).float(), y))
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
    assert loss_of(accelerator.unwrap_model(model)) < 0.95 * loss_of(network())
    assert optimizer.optimizer.stats()["steps"] == 24
    accelerator.save_state(str(tmp_path))
    before = [slot.clone() for slots in optimizer.state.values() for slot in slots.values()]
    optimizer.optimizer.state.clear()
    accelerator.load_state(str(tmp_path))
    after = [slot for slots in optimizer.state.values() for slot in slots.values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
