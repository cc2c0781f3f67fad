"""Where steps point: the polar factor of a matrix's momentum, and Adam's direction for all else."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..symmetry import Matrices, NetworkSpec, Shape
from ._polar import banded_polar_factor
from ._slots import Reads
from ._steep import Steep
from .constants import BAND, BAND_EXPONENT, STEEP


@dataclass(frozen=True)
class Spectral:
    """The polar factor for matrices, as in Muon; Adam's direction for all other tensors.

    A parameter that is several matrices (one a head, a gate, a group) gets the polar factor of
    each. On a CPU the rows of a large matrix (its columns, if they are fewer) are dealt into bands
    that get a polar factor each. So an entry of a large matrix costs no more than that of a small
    one, and most of what polar factors gain is kept. On other devices every matrix is whole. Tables
    get Adam's direction: rows that were not looked up stay where they are. So does every entry
    whose momentum is exactly zero, such as one that a mask takes the gradient from.

    Steps are smaller along a few directions on either side of a matrix along which momenta have
    been large, see the module `_steep`.

    Attributes:
        band: Most rows of a band. A matrix of up to twice as many is whole. None: all are whole.
        steep: How many such directions there are on either side, at most as many as rows or
            columns; with 0 nothing is remembered.
    """

    band: int | None = BAND
    steep: int = STEEP

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

    def memory(self, spec: NetworkSpec, name: str) -> Shape:
        """Shape of what is remembered of a parameter, see `__call__`; `()` where nothing is."""
        matrices = self.matrices(spec).get(name)
        if matrices is None or not self.steep:
            return ()
        rows, columns = matrices.rows, matrices.columns
        return matrices.blocks, rows + columns, min(self.steep, rows, columns)

    def reads(self, spec: NetworkSpec, name: str, reads_all: bool = True) -> Reads:
        """What a rule reads of a parameter: all, or what its direction depends on.

        Args:
            spec: The network's spec.
            name: The parameter.
            reads_all: As for the rule.
        """
        memory = self.memory(spec, name)
        if reads_all:
            return Reads(steep=memory)
        return Reads(1, name not in self.matrices(spec), memory)

    def __call__(
        self,
        spec: NetworkSpec,
        momenta: Mapping[str, Tensor],
        slots: Mapping[str, Mapping[str, Tensor]],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Directions of momenta, and what is remembered with them; none of those that are Adam's.

        Args:
            spec: The network's spec.
            momenta: `(*batch, *axes)` by name.
            slots: What is kept of these parameters: the count of `step` `(*batch)`, these momenta
                among them, and the memory `steep` without them, of the shape `memory`: for each
                matrix the directions of `Steep`, outputs first.

        Returns:
            The directions, like the momenta, and the new `steep` of each parameter that has one.
        """
        known = self.matrices(spec)
        views = {n: known[n].view(momentum) for n, momentum in momenta.items() if n in known}
        alike: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name, view in views.items():
            rows, columns = view.shape[-2:]
            alike[min(rows, columns), max(rows, columns)].append(name)
        directions: dict[str, Tensor] = {}
        remembered: dict[str, Tensor] = {}
        for names in alike.values():
            lying = _Lying.of([views[n] for n in names])
            if self.steep:
                found, memory = self._remembering(lying, [slots[n] for n in names])
                remembered.update(zip(names, memory, strict=True))
            else:
                found = self._polar(lying.batch)
            found = found.masked_fill(lying.batch == 0, 0.0)
            for name, direction in zip(names, lying.apart(found), strict=True):
                directions[name] = known[name].unview(direction)
        return directions, remembered

    def _remembering(
        self, lying: _Lying, slots: list[Mapping[str, Tensor]]
    ) -> tuple[Tensor, list[Tensor]]:
        """Directions of the momenta of some parameters, and what is remembered of each."""
        shapes = [slot["steep"].shape[:-2] for slot in slots]
        steps = [s["step"].unsqueeze(-1).expand(of) for s, of in zip(slots, shapes, strict=True)]
        before = lying.steep([slot["steep"] for slot in slots])
        found = before.damped(self._polar(before.damped(lying.batch)))
        now = before.followed(lying.batch, torch.cat([step.flatten() for step in steps]))
        return found, lying.memory(now)

    def _polar(self, lying: Tensor) -> Tensor:
        bands = self.num_bands(lying.shape[1], lying.shape[2], lying.device.type)
        return banded_polar_factor(lying, bands)


@dataclass(frozen=True)
class _Lying:
    """Matrices of one size, some upright and some lying, as a batch of lying ones.

    Attributes:
        batch: `(b, n, m)`, `n <= m`.
        shapes: Of the matrices `(*batch, rows, columns)`.
    """

    batch: Tensor
    shapes: list[Shape]

    @classmethod
    def of(cls, matrices: list[Tensor]) -> _Lying:
        lying = [x if x.shape[-2] <= x.shape[-1] else x.mT for x in matrices]
        batch = torch.cat([x.reshape(-1, *x.shape[-2:]) for x in lying])
        return cls(batch, [tuple(x.shape) for x in matrices])

    def apart(self, batch: Tensor) -> list[Tensor]:
        """A batch of the same size as matrices again."""
        parts = zip(self._split(batch), self.shapes, strict=True)
        return [(x if _lies(shape) else x.mT).reshape(shape) for x, shape in parts]

    def steep(self, memory: list[Tensor]) -> Steep:
        """What is remembered of each `(*batch, rows + columns, k)`, for the batch."""
        sides: tuple[list[Tensor], list[Tensor]] = ([], [])
        for x, shape in zip(memory, self.shapes, strict=True):
            halves = x.reshape(-1, *x.shape[-2:]).split(shape[-2:], -2)
            for side, half in zip(sides, halves if _lies(shape) else halves[::-1], strict=True):
                side.append(half)
        return Steep(torch.cat(sides[0]), torch.cat(sides[1]))

    def memory(self, steep: Steep) -> list[Tensor]:
        """The inverse."""
        halves = zip(self._split(steep.outputs), self._split(steep.inputs), strict=True)
        return [
            torch.cat(pair if _lies(shape) else pair[::-1], -2).reshape(
                *shape[:-2], sum(shape[-2:]), -1
            )
            for pair, shape in zip(halves, self.shapes, strict=True)
        ]

    def _split(self, batch: Tensor) -> tuple[Tensor, ...]:
        return batch.split([math.prod(shape[:-2]) for shape in self.shapes])


def _lies(shape: Shape) -> bool:
    return shape[-2] <= shape[-1]


def _read(spec: NetworkSpec) -> dict[str, Matrices]:
    found = ((name, spec.matrices(name)) for name in spec.names if name not in spec.tables)
    return {name: matrices for name, matrices in found if matrices is not None}


_remembered = lru_cache(maxsize=256)(_read)
