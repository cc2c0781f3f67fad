"""NF-Layers: maps between weight-space features that commute with renumbering neurons."""

from ._shared import SharedNPLinear as SharedNPLinear
