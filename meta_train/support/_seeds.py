"""Global random numbers: from a seed for a while, and afterwards as before."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, numpy's and torch's global random numbers from a seed, and afterwards as before."""
    python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(_devices()):
        seed_all(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(of_numpy)


def seed_all(seed: int) -> None:
    """Seeds Python's, numpy's and torch's global random numbers."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def random_state() -> bytes:
    """Where the global random numbers are: equal as long as nobody draws."""
    of_torch = [torch.get_rng_state(), *(torch.cuda.get_rng_state(i) for i in _devices())]
    others = pickle.dumps((random.getstate(), np.random.get_state()))
    return b"".join(state.numpy().tobytes() for state in of_torch) + others


def _devices() -> range:
    """The GPUs in use."""
    return range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
