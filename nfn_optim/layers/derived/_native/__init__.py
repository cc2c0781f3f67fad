"""A derived layer's arithmetic in native code: the same to rounding, and faster on few channels.

`gather`, `scatter` and `outer` are those of `_gather.py` and `_mix.py` for float32 on a CPU, where
what is called is worth less than the calling of many small operations.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .... import native as native
from ....native import address
from .._gather import Mixer

MOST_COLUMNS = 160  # of a level; beyond them products are worth more than all else


library, can_build = native.loaders(Path(str(files(__package__))) / "mix.cpp")


def fits(mixer: Mixer, tensors: Sequence[Tensor]) -> bool:
    """Whether a layer's passes over these tensors (features, weights) can be native."""
    channels, program = (mixer.in_channels, mixer.out_channels), mixer.program
    return (
        program.widest * max(channels) <= MOST_COLUMNS
        and program.labels <= 2
        and not any(count % native.lanes() for count in channels)
        and all(map(native.has_memory, tensors))
        and tensors[0].numel() > 0
        and can_build()
    )


@dataclass(frozen=True)
class Gathered:
    """All levels of some features: parameters' own, and an arena with the others."""

    folded: list[Tensor]
    arena: Tensor

    @property
    def networks(self) -> int:
        """Number of networks in the batch."""
        return self.folded[0].shape[0]

    @property
    def addresses(self) -> array[int]:
        """Where parameters' own features are."""
        return array("Q", [tensor.data_ptr() for tensor in self.folded])

    def last(self, mixer: Mixer) -> Tensor:
        """The smallest level, of whole networks: `(networks, width * channels)`."""
        level = mixer.plan.levels[-1]
        if level.param is not None:
            return self.folded[level.param]
        size = level.width * mixer.in_channels
        return self.arena[-self.networks * size :].view(self.networks, size)


def fold(mixer: Mixer, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Parameters' features, dense, as `(networks, *n, width * channels)`."""
    pairs = zip(mixer.plan.folds, tensors, strict=True)
    return [fold.fold(tensor).contiguous() for fold, tensor in pairs]


def gather(mixer: Mixer, tensors: Sequence[Tensor]) -> Gathered:
    """All levels; of an adjoint the sums, else the averages."""
    folded = fold(mixer, tensors)
    numbers = folded[0].shape[0] * mixer.program.arena * mixer.in_channels
    gathered = Gathered(folded, folded[0].new_empty(numbers))
    library().nfn_gather(
        *_head(mixer, gathered.networks),
        address(gathered.addresses),
        ctypes.c_void_p(gathered.arena.data_ptr()),
        ctypes.c_long(mixer.in_channels),
        ctypes.c_int(mixer.adjoint),
    )
    return gathered


def scatter(
    mixer: Mixer,
    gathered: Gathered,
    weights: Sequence[Tensor],
    batch: Sequence[int],
    bias: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Multiplies levels by their weights and adds them up, one result a parameter.

    Weights are those of the layer, for its adjoint too.
    """
    channels = mixer.out_channels
    folds = mixer.plan.folds
    results = [
        tensor.new_empty(*tensor.shape[:-1], fold.width * channels)
        for tensor, fold in zip(gathered.folded, folds, strict=True)
    ]
    dense = [weight.contiguous() for weight in weights]
    library().nfn_scatter(
        *_head(mixer, gathered.networks),
        address(gathered.addresses),
        ctypes.c_void_p(gathered.arena.data_ptr()),
        address(array("Q", [weight.data_ptr() for weight in dense])),
        ctypes.c_void_p(None if bias is None else bias.data_ptr()),
        ctypes.c_int(mixer.adjoint),
        ctypes.c_long(mixer.in_channels),
        ctypes.c_long(channels),
        address(array("Q", [result.data_ptr() for result in results])),
    )
    return tuple(fold.unfold(x, batch) for fold, x in zip(folds, results, strict=True))


def outer(mixer: Mixer, x: Gathered, grads: Gathered) -> list[Tensor]:
    """Gradients of the levels' weights."""
    into, out = mixer.in_channels, mixer.out_channels
    made = [x.arena.new_empty(level.width * into, level.width * out) for level in mixer.plan.levels]
    library().nfn_outer(
        *_head(mixer, x.networks),
        address(x.addresses),
        ctypes.c_void_p(x.arena.data_ptr()),
        ctypes.c_long(into),
        address(grads.addresses),
        ctypes.c_void_p(grads.arena.data_ptr()),
        ctypes.c_long(out),
        address(array("Q", [weight.data_ptr() for weight in made])),
    )
    return made


def _head(mixer: Mixer, networks: int) -> tuple[Any, ...]:
    """The first arguments of every native function."""
    threads = ctypes.c_int(torch.get_num_threads())
    return address(mixer.program.numbers), ctypes.c_long(networks), threads
