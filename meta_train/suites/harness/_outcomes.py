"""Outcomes on disk, found by what they depend on, so that an interrupted suite continues."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from nfn_optim.cache import cache_folder

from ...support import fingerprint, remember
from ._suite import Outcome

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def network_digest(network: nn.Module, probe: Sequence[Tensor]) -> str:
    """Hash of a new network: its code, settings and weights, and what it makes of a probe.

    What only training shows counts too: attributes, and which parameters are trained. Equal
    networks have equal hashes in every process.
    """
    state = [*network.named_parameters(), *network.named_buffers()]
    written = [f"{number:.3e}" for tensor in probe for number in tensor.flatten().tolist()]
    return fingerprint(_ADDRESS.sub("", str(network)), network, state, written)


def remember_outcome(key: object, run: Callable[[], Outcome]) -> Outcome:
    """The outcome of a run, read back if there was one with the same key before.

    Args:
        key: All that the outcome depends on, the code that runs too.
        run: Makes the outcome.
    """
    tensors = remember(cache_folder(), "outcomes", key, partial(_as_tensors, run))
    score, validation, seconds, parameters = tensors["numbers"].tolist()
    return Outcome(score, validation, seconds, int(parameters), tensors["predictions"])


def _as_tensors(run: Callable[[], Outcome]) -> dict[str, Tensor]:
    outcome = run()
    numbers = (outcome.score, outcome.validation, outcome.seconds, outcome.parameters)
    return {
        "numbers": torch.tensor(numbers, dtype=torch.float64),
        "predictions": outcome.predictions,
    }
