"""Does a network that reads CNNs care how their channels are numbered?

Trains a batch of small CNNs on the digits, renumbers the channels of each, and compares what the
CNNs compute and what an invariant NFN, an MLP on flat weights and StatNN read from them.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import HNPLinear
from nfn_optim.networks import EquivariantConfig, FlatMLP, InvariantConfig, InvariantNFN, StatNN
from nfn_optim.testing import renumbered


def make_cnn() -> nn.Module:
    """Two convolutions and a classifier."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def train(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> float:
    """Trains in place; returns the accuracy."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        index = torch.randint(len(images), (128,))
        loss = nn.functional.cross_entropy(model(images[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float((model(images).argmax(1) == labels).float().mean())


def change(before: Tensor, after: Tensor) -> float:
    """Largest difference, relative to the largest entry."""
    return float((before - after).abs().max() / before.abs().max())


def main() -> None:
    """Trains the CNNs, renumbers them, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two CNNs, a few steps")
    options = parser.parse_args()
    count, steps = (2, 5) if options.smoke else (16, 200)
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)

    cnns = [make_cnn() for _ in range(count)]
    accuracies = [train(cnn, images, labels, steps) for cnn in cnns]
    print(f"{count} CNNs, accuracy {min(accuracies):.2f} to {max(accuracies):.2f}")

    feats = WeightSpaceFeatures.from_modules(cnns)
    permuted = renumbered(feats, torch.Generator().manual_seed(1))
    twin = make_cnn()
    twin.load_state_dict(permuted.to_state_dicts()[0])

    layers = EquivariantConfig(layer=HNPLinear, hidden=(16, 16, 5))
    readers = {
        "InvariantNFN": InvariantNFN(feats.spec, InvariantConfig(layers)),
        "StatNN": StatNN(feats.spec),
        "MLP on flat weights": FlatMLP(feats.spec),
    }
    print("\nwhat                  largest relative change when channels are renumbered")
    with torch.no_grad():
        print(f"{'the weights':<21} {change(feats['2.weight'], permuted['2.weight']):.1e}")
        print(f"{'the first CNN':<21} {change(cnns[0](images), twin(images)):.1e}")
        for name, reader in readers.items():
            print(f"{name:<21} {change(reader(feats), reader(permuted)):.1e}")


if __name__ == "__main__":
    main()
