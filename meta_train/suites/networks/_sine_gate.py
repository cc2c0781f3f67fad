"""What stands between NF-Layers that read SIRENs: a sine and a product, as SIRENs have them."""

from __future__ import annotations

from torch import Tensor, nn


class SineGate(nn.Module):
    """The sine of half of the channels times the other half.

    Layers that end in it contain a SIREN's own forward pass: `W_jk sin(w_k x + b_k)`, averaged
    over `k`, is the phase of the next neuron.

    Shape:
        A tensor `(..., 2 * c)` to `(..., c)`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Multiplies."""
        phase, factor = x.chunk(2, -1)
        return phase.sin() * factor
