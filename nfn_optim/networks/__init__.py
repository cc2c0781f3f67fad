"""Whole networks that read networks: equivariant, invariant, transformers, and baselines."""

from ._baselines import FlatMLP as FlatMLP
from ._baselines import FlatMLPEditor as FlatMLPEditor
from ._baselines import PermutationAugmented as PermutationAugmented
from ._baselines import StatNN as StatNN
from ._equivariant import EquivariantConfig as EquivariantConfig
from ._equivariant import EquivariantNFN as EquivariantNFN
from ._equivariant import InputConfig as InputConfig
from ._invariant import HeadConfig as HeadConfig
from ._invariant import InvariantConfig as InvariantConfig
from ._invariant import InvariantNFN as InvariantNFN
from ._transformer import NFT as NFT
from ._transformer import NFT2Array as NFT2Array
from ._transformer import TransformerConfig as TransformerConfig

__all__ = [  # the other names are for the folders beside
    "NFT",
    "EquivariantConfig",
    "EquivariantNFN",
    "FlatMLP",
    "HeadConfig",
    "InputConfig",
    "InvariantConfig",
    "InvariantNFN",
    "NFT2Array",
    "StatNN",
    "TransformerConfig",
]
