"""Outcomes on disk, found again by what they depend on, so that an interrupted suite goes on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..support import describe, remember
from ._suite import Outcome

_VERSION = 2  # of training and testing: raise it when equal inputs give other outcomes
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def network_digest(network: nn.Module, probe: Sequence[Tensor]) -> str:
    """Hash of a new network: its code, settings and weights, and what it makes of a probe.

    What only training shows counts too: attributes, and which parameters are trained. Equal
    networks have equal hashes in every process.
    """
    digest = hashlib.sha256(f"{_ADDRESS.sub('', str(network))} {describe(network)}".encode())
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        digest.update(f"{name} {describe(tensor)}".encode())
    for tensor in probe:
        digest.update(" ".join(f"{x:.3e}" for x in tensor.flatten().tolist()).encode())
    return digest.hexdigest()


def remember_outcome(
    folder: Path | None, parts: Sequence[str | int], run: Callable[[], Outcome]
) -> Outcome:
    """The outcome of a run, read back if there was one with the same parts before.

    Args:
        folder: Where outcomes are kept; None keeps none.
        parts: What the outcome depends on.
        run: Makes the outcome.
    """

    def make() -> dict[str, Tensor]:
        outcome = run()
        return {
            "numbers": torch.tensor(
                [outcome.score, outcome.validation, outcome.seconds, outcome.parameters],
                dtype=torch.float64,
            ),
            "predictions": outcome.predictions,
        }

    settings = {"suites": _VERSION, "parts": list(parts)}
    tensors = remember(folder, "outcomes", settings, (), make)
    score, validation, seconds, parameters = tensors["numbers"].tolist()
    return Outcome(score, validation, seconds, int(parameters), tensors["predictions"])
