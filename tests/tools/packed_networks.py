"""Networks of many kinds for tests of packs, and features of them."""

import torch
from torch import nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.testing import (
    attention_spec,
    chain_spec,
    random_features,
    recurrent_spec,
    residual_spec,
    scattered_spec,
)


def depthwise() -> NetworkSpec:
    layers = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1), nn.Flatten(), nn.Linear(8, 2)
    return NetworkSpec.from_module(nn.Sequential(*layers))


def tied() -> NetworkSpec:
    """An embedding that is the output layer, too, and attention."""
    return NetworkSpec.from_module(nn.TransformerEncoderLayer(8, 2, 6, batch_first=True))


KINDS = {
    "MLPs": [chain_spec([3, 5, 2]), chain_spec([2, 4, 6, 3, 1]), chain_spec([4, 4])],
    "equal": [chain_spec([3, 5, 2])] * 3,
    "CNNs": [chain_spec([1, 4, 3], [(3, 3), (2,)]), chain_spec([2, 3, 2], [(5,), ()])],
    "no biases": [chain_spec([3, 5, 2], biases=[False, False]), chain_spec([3, 2], biases=[False])],
    "residual": [residual_spec(), chain_spec([3, 5, 2])],
    "attention": [attention_spec(), tied()],
    "recurrent": [recurrent_spec(), chain_spec([3, 5, 2])],
    "scattered": [scattered_spec(), recurrent_spec(), depthwise()],
}
ALL = [spec for specs in KINDS.values() for spec in specs]


def drawn(
    specs: list[NetworkSpec], channels: int = 3, dtype: torch.dtype = torch.float64
) -> list[WeightSpaceFeatures]:
    generator = torch.Generator().manual_seed(0)
    return [random_features(s, channels, generator, batch=(), dtype=dtype) for s in specs]


def context(
    specs: list[NetworkSpec], dtype: torch.dtype = torch.float64
) -> list[dict[str, torch.Tensor]]:
    """Two descriptors of each parameter."""
    generator = torch.Generator().manual_seed(1)
    return [
        {n: torch.randn(2, generator=generator, dtype=torch.float64).to(dtype) for n in spec.names}
        for spec in specs
    ]
