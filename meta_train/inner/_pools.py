"""Means of the windows of stacked images, as products of matrices.

torch's own take several times as long where there are few windows. Shape legend: `h`, `w` sides of
the images, `i`, `j` numbers of windows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW = 16  # windows
_LARGEST = 256  # pixels of an image


def adaptive_mean(input: Tensor, output_size: Any) -> Tensor:
    """As `F.adaptive_avg_pool2d`, of images `(..., h, w)` that may be stacked."""
    is_stacked = torch._C._functorch.is_batchedtensor(input) and input.dim() >= 3
    is_known = is_stacked and input.is_cpu and input.is_floating_point()
    height, width = input.shape[-2:] if is_known else (0, 0)
    if not 0 < height * width <= _LARGEST:
        return F.adaptive_avg_pool2d(input, output_size)
    single = torch.eye(height * width, dtype=input.dtype, device=input.device)
    windows = F.adaptive_avg_pool2d(single.unflatten(1, (1, height, width)), output_size)
    if windows[0].numel() > _FEW:
        return F.adaptive_avg_pool2d(input, output_size)
    return (input.flatten(-2) @ windows.flatten(1)).unflatten(-1, windows.shape[-2:])
