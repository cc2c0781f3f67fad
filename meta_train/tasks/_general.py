"""What the weights `small` are meta-trained on. Fashion-MNIST is held out."""

from __future__ import annotations

from dataclasses import replace

from ._augment import ReparametrizedWeights
from ._families import DigitsCNNs, DigitsMLPs, Mixture, TeacherMLPs
from ._images import Autoencoders, ImageCNNs, ImageMLPs
from ._tables import Tables

_digits_mlps = DigitsMLPs(max_hidden_layers=6, max_width=192)
_mnist_mlps = ImageMLPs("mnist", max_samples=20_000, max_side=28, max_width=192)

general_family = Mixture(
    (
        (_digits_mlps, 0.2),
        (_mnist_mlps, 0.25),
        (TeacherMLPs(max_hidden_layers=6), 0.1),
        (Tables(), 0.15),
        (ImageCNNs("mnist"), 0.1),
        (DigitsCNNs(), 0.05),
        (Autoencoders("digits"), 0.05),
        (ReparametrizedWeights(Mixture(((_digits_mlps, 1.0), (_mnist_mlps, 1.0)))), 0.1),
    )
)
"""What the weights `small` are meta-trained on: digits, MNIST, teachers, tables."""

# For evolution strategies, which train many copies of every network: smaller ones.
_light_digits_mlps = replace(_digits_mlps, max_weights=12_000)

light_family = Mixture(
    (
        (_light_digits_mlps, 0.2),
        (replace(_mnist_mlps, max_weights=20_000), 0.35),
        (TeacherMLPs(max_hidden_layers=6, max_weights=12_000), 0.1),
        (Tables(max_weights=8_000), 0.1),
        (ImageCNNs("mnist", max_side=14, max_channels=16), 0.1),
        (DigitsCNNs(), 0.05),
        (Autoencoders("digits", max_weights=6_000), 0.05),
        (ReparametrizedWeights(_light_digits_mlps), 0.05),
    )
)
"""`general_family` with smaller networks, for evolution strategies."""
