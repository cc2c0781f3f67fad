"""Sixty MLPs of three widths in files and a table; then their accuracy, read off their weights.

Run: python examples/predict_accuracy.py [FOLDER]
"""

import csv
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from meta_train.prediction import predict
from meta_train.zoo import from_state_dicts

SMOKE = "--smoke" in sys.argv
NETWORKS, NUM_STEPS, SEEDS = (15, 10, 1) if SMOKE else (60, 200, 3)


def train(seed: int, width: int, decay: float) -> tuple[nn.Module, float]:
    """A network, and its accuracy on the last 597 images."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16).float(), torch.tensor(labels)
    torch.manual_seed(seed)
    rate = 10 ** (-2.5 + torch.rand(()).item())
    net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
    for _ in range(int(torch.randint(10, 300, ()))):
        pick = torch.randint(1200, (64,))
        optimizer.zero_grad()
        F.cross_entropy(net(x[pick]), y[pick]).backward()
        optimizer.step()
    return net, (net(x[1200:]).argmax(1) == y[1200:]).float().mean().item()


def write_networks(folder: Path) -> None:
    """The networks in two formats, and `labels.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(NETWORKS):
        width, decay = (16, 24, 32)[seed % 3], (0.0, 1.0)[seed // 3 % 2]
        net, accuracy = train(seed, width, decay)
        path = folder / f"net-{seed:02d}{('.pt', '.safetensors')[seed % 2]}"
        (torch.save, save_file)[seed % 2](net.state_dict(), path)
        rows.append((path.name, width, "with" if decay else "without", round(accuracy, 4)))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "width", "decay", "accuracy"), *rows])


def main(folder: Path) -> None:
    """Writes networks, reads them back, and predicts two of their properties."""
    if not (folder / "labels.csv").exists():
        write_networks(folder)
    zoo = from_state_dicts(folder, labels=folder / "labels.csv")
    for target in ("accuracy", "decay"):
        result = predict(target, zoo, num_steps=NUM_STEPS, seeds=SEEDS)
        print(f"{target}, {len(zoo)} networks of {result.architectures} architectures")
        for name in result.scores:
            print(f"  {name}: {result.mean(name):.2f} ± {result.std(name):.2f}")


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    main(Path(given[0] if given else "digits-zoo"))
