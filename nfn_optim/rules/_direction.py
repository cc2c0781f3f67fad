"""Where steps point: the polar factor of a matrix's momentum, and Adam's direction for all else."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..symmetry import Matrices, NetworkSpec
from ._polar import banded_polar_factor
from .constants import BAND, BAND_EXPONENT


@dataclass(frozen=True)
class Spectral:
    """The polar factor for matrices, as in Muon; Adam's direction for all other tensors.

    A parameter that is several matrices (one a head, a gate, a group) gets the polar factor of
    each. On a CPU the rows of a large matrix (its columns, if they are fewer) are dealt into bands
    that get a polar factor each. So an entry of a large matrix costs no more than that of a small
    one, and most of what polar factors gain is kept. On other devices every matrix is whole. Tables
    get Adam's direction: rows that were not looked up stay where they are. So does every entry
    whose momentum is exactly zero, such as one that a mask takes the gradient from.

    Attributes:
        band: Most rows of a band. A matrix of up to twice as many is whole. None: all are whole.
    """

    band: int | None = BAND

    def matrices(self, spec: NetworkSpec) -> Mapping[str, Matrices]:
        """Parameters that get polar factors, and the matrices that they are made of."""
        return _read(spec) if torch.compiler.is_compiling() else _remembered(spec)

    def num_bands(self, rows: int, columns: int, device: str) -> int:
        """Into how many bands a matrix is dealt on a type of device."""
        low = min(rows, columns)
        if self.band is None or low <= 2 * self.band or device != "cpu":
            return 1
        return math.ceil(low / self.band)

    def log_shares(self, spec: NetworkSpec, names: Sequence[str], device: str) -> list[float]:
        """Log of what is left of each parameter's step size where its matrices are dealt.

        Bands of one matrix point alike where it is strongest, and add up there: the more of them,
        the smaller the steps that suit.
        """
        known = self.matrices(spec)
        sizes = [(known[n].rows, known[n].columns) if n in known else (1, 1) for n in names]
        return [-BAND_EXPONENT * math.log(self.num_bands(*size, device)) for size in sizes]

    def __call__(self, spec: NetworkSpec, momenta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Directions of momenta `(*batch, *axes)`, like them; none of those that are Adam's."""
        known = self.matrices(spec)
        views = {n: known[n].view(momentum) for n, momentum in momenta.items() if n in known}
        alike: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name, view in views.items():
            rows, columns = view.shape[-2:]
            alike[min(rows, columns), max(rows, columns)].append(name)
        directions = {}
        for names in alike.values():
            found = self._of_one_size([views[n] for n in names])
            for name, direction in zip(names, found, strict=True):
                directions[name] = known[name].unview(direction)
        return directions

    def _of_one_size(self, matrices: list[Tensor]) -> list[Tensor]:
        """Of matrices `(*batch, rows, columns)`, some upright and some lying, as one batch."""
        lying = [x if x.shape[-2] <= x.shape[-1] else x.mT for x in matrices]
        batch = torch.cat([x.reshape(-1, *x.shape[-2:]) for x in lying])
        bands = self.num_bands(batch.shape[1], batch.shape[2], batch.device.type)
        polar = banded_polar_factor(batch, bands).masked_fill(batch == 0, 0.0)
        parts = polar.split([x.shape[:-2].numel() for x in lying])
        found = [p.view(x.shape) for p, x in zip(parts, lying, strict=True)]
        pairs = zip(found, matrices, strict=True)
        return [p if p.shape == x.shape else p.mT for p, x in pairs]


def _read(spec: NetworkSpec) -> dict[str, Matrices]:
    found = ((name, spec.matrices(name)) for name in spec.names if name not in spec.tables)
    return {name: matrices for name, matrices in found if matrices is not None}


_remembered = lru_cache(maxsize=256)(_read)
