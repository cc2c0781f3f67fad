"""Sixty MLPs of three widths on digits, half of them with weight decay: files, and a table.

Run: python examples/zoo_of_digits.py FOLDER
Then: nfn-optim zoo predict FOLDER --labels FOLDER/labels.csv --target accuracy
"""

import csv
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

NETWORKS = 60


def train(seed: int, width: int, decay: float) -> tuple[nn.Module, float]:
    """A network, and its accuracy on the last 597 images."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16).float(), torch.tensor(labels)
    torch.manual_seed(seed)
    rate = 10 ** (-2.5 + torch.rand(()).item())
    net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
    for _ in range(int(torch.randint(50, 300, ()))):
        pick = torch.randint(1200, (64,))
        optimizer.zero_grad()
        F.cross_entropy(net(x[pick]), y[pick]).backward()
        optimizer.step()
    return net, (net(x[1200:]).argmax(1) == y[1200:]).float().mean().item()


def main(folder: Path, networks: int = NETWORKS) -> None:
    """Writes the networks in two formats, and `labels.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(networks):
        width, decay = (16, 24, 32)[seed % 3], (0.0, 1.0)[seed // 3 % 2]
        net, accuracy = train(seed, width, decay)
        path = folder / f"net-{seed:02d}{('.pt', '.safetensors')[seed % 2]}"
        (torch.save, save_file)[seed % 2](net.state_dict(), path)
        rows.append((path.name, width, "with" if decay else "without", round(accuracy, 4)))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "width", "decay", "accuracy"), *rows])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
