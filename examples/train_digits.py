"""Does NFNOptimizer replace Adam by one changed line? A plain training script on digits."""

import argparse
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim import NFNOptimizer


def train(
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer], data: list[Tensor], num_steps: int
) -> tuple[float, float]:
    """Trains a classifier; returns its training loss and its accuracy on the held-out images."""
    torch.manual_seed(0)
    x_train, x_test, y_train, y_test = data
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = make_optimizer(model)
    for _ in range(num_steps):
        batch = torch.randint(len(x_train), (64,))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x_train[batch]), y_train[batch])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        train_loss = F.cross_entropy(model(x_train), y_train)
        accuracy = (model(x_test).argmax(-1) == y_test).float().mean()
    return train_loss.item(), accuracy.item()


def main() -> None:
    """Trains twice, with everything the same but the optimizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    num_steps = 5 if parser.parse_args().smoke else 500

    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images / 16, labels, test_size=360, random_state=0, stratify=labels)
    data = [torch.from_numpy(a) for a in split]
    data = [a.float() if a.is_floating_point() else a for a in data]

    optimizers: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
        "Adam": lambda model: torch.optim.Adam(model.parameters(), lr=1e-3),
        "NFNOptimizer": lambda model: NFNOptimizer(model),
    }
    print(f"{'optimizer':<14}{'training loss':>14}{'test accuracy':>15}")
    for name, make_optimizer in optimizers.items():
        loss, accuracy = train(make_optimizer, data, num_steps)
        print(f"{name:<14}{loss:>14.4f}{accuracy:>14.1%}")


if __name__ == "__main__":
    main()
