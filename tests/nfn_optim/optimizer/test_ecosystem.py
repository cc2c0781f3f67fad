"""NFNOptimizer inside the packages that train other people's models, each run for real."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("handed_on", ["model", "parameters"])
def test_lightning_automatic_optimization(tmp_path: Path, handed_on: str):
    lightning = pytest.importorskip("lightning", reason=f"lightning {EXTRA}")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()
            self.losses: list[float] = []

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            optimizer = NFNOptimizer(self if handed_on == "model" else self.parameters())
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
    assert first.optimizers[0].coverage().share == 1
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


def trainer_of(model: nn.Module, folder: Path, epochs: int = 5, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers", reason=f"transformers {EXTRA}")
    pytest.importorskip("accelerate", reason=f"accelerate {EXTRA}")
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        weight_decay=0.25,
        warmup_steps=2,
        lr_scheduler_type="cosine",
        use_cpu=True,
        report_to=[],
        save_strategy="epoch",
        disable_tqdm=True,
        logging_strategy="no",
        dataloader_pin_memory=False,
    )
    return transformers.Trainer(model, arguments, train_dataset=Rows(), **options)


OPTIMIZERS: dict[str, Callable[[nn.Module], dict[str, Any]]] = {
    "optimizers": lambda m: {"optimizers": (NFNOptimizer(m), None)},
    "optimizer_cls_and_kwargs": lambda m: {
        "optimizer_cls_and_kwargs": (NFNOptimizer.reading(m), {})
    },
}
DECAYS = {"optimizers": [0.0], "optimizer_cls_and_kwargs": [0.25, 0.0]}


@pytest.mark.parametrize("way", OPTIMIZERS)
def test_hugging_face_trainer(tmp_path: Path, way: str):
    def trainer(epochs: int) -> Any:
        model = WithLoss()
        return trainer_of(model, tmp_path, epochs, **OPTIMIZERS[way](model))

    first = trainer(5)
    first.train()
    assert loss_of(first.model.net) < 0.95 * loss_of(network())
    second = trainer(7)
    second.train(resume_from_checkpoint=True)
    optimizer = getattr(second.optimizer, "optimizer", second.optimizer)
    assert isinstance(optimizer, NFNOptimizer)
    assert optimizer.stats()["steps"] == 28
    assert optimizer.coverage().share == 1
    assert [group["weight_decay"] for group in optimizer.param_groups] == DECAYS[way]


def test_hugging_face_trainer_with_a_scheduler_of_one_s_own(tmp_path: Path):
    transformers = pytest.importorskip("transformers", reason=f"transformers {EXTRA}")
    model = WithLoss()
    optimizer = NFNOptimizer(model)
    scheduler = transformers.get_cosine_schedule_with_warmup(optimizer, 2, 20)
    trainer_of(model, tmp_path, optimizers=(optimizer, scheduler)).train()
    assert loss_of(model.net) < 0.95 * loss_of(network())


def lora() -> nn.Module:
    """A language model whose adapters alone are trained."""
    transformers = pytest.importorskip("transformers", reason=f"transformers {EXTRA}")
    peft = pytest.importorskip("peft", reason=f"peft {EXTRA}")
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads))
    targets = ["q_proj", "v_proj", "up_proj", "down_proj"]
    return peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=targets))


def train_on_text(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
    text = torch.randint(0, 11, (8, 9), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(input_ids=text, labels=text).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


ADAPTERS: dict[str, Callable[[nn.Module], Any]] = {
    "model": NFNOptimizer,
    "parameters": lambda m: NFNOptimizer(m.parameters()),
    "those that are trained": lambda m: NFNOptimizer(
        [p for p in m.parameters() if p.requires_grad], model=m
    ),
}


@pytest.mark.parametrize("make", ADAPTERS.values(), ids=ADAPTERS)
def test_peft_trains_adapters_in_their_place(make):
    model = lora()
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    optimizer = make(model)
    assert optimizer.coverage().share == 1
    losses = train_on_text(model, optimizer)
    assert losses[-1] < 0.95 * losses[0]
    assert all(torch.equal(dict(model.named_parameters())[n], p) for n, p in frozen.items())


def test_peft_makes_groups_with_rates_of_their_own():
    model = lora()
    optimizers = pytest.importorskip("peft.optimizers", reason=f"peft {EXTRA}")
    with pytest.warns(UserWarning, match="lr=0.0012 looks like"):
        optimizer = optimizers.create_loraplus_optimizer(
            model, NFNOptimizer.reading(model), lr=3e-4, loraplus_lr_ratio=4, weight_decay=0.1
        )
    placed = {row.name: row.is_placed for row in optimizer.coverage().rows}
    assert all(placed[name] for name in placed if "lora_" in name)
    rates = {(group["lr"], group["lr_unit"]) for group in optimizer.param_groups if group["params"]}
    assert rates == {(3e-4, "adam"), (1.2e-3, "adam")}
    losses = train_on_text(model, optimizer)
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("name", ["PPO", "DQN"])
@pytest.mark.filterwarnings("ignore:lr=.* looks like")
def test_stable_baselines_makes_the_optimizer_by_itself(tmp_path: Path, name: str):
    baselines = pytest.importorskip("stable_baselines3", reason=f"stable-baselines3 {EXTRA}")
    options = {"PPO": {"n_steps": 64}, "DQN": {"learning_starts": 32}}[name]
    algorithm = getattr(baselines, name)
    kwargs = {"optimizer_class": NFNOptimizer, "optimizer_kwargs": {"weight_decay": 0.01}}
    agent = algorithm("MlpPolicy", "CartPole-v1", policy_kwargs=kwargs, seed=0, **options)
    optimizer = agent.policy.optimizer
    assert optimizer.coverage().share == 1
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01]
    before = [param.clone() for param in optimizer.param_groups[0]["params"]]
    agent.learn(128)
    moved = [
        not torch.equal(p, q)
        for p, q in zip(optimizer.param_groups[0]["params"], before, strict=True)
    ]
    assert all(moved)
    agent.save(tmp_path / "agent.zip")
    loaded = algorithm.load(tmp_path / "agent.zip")
    assert loaded.policy.optimizer.stats()["steps"] == optimizer.stats()["steps"] > 0


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
