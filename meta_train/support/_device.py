"""Where networks live, by the name that users give it."""

from __future__ import annotations

import torch


def find_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        ValueError: If there is none.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the device named meta holds no numbers
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used: {reason}. Try cpu.") from error
    return device
