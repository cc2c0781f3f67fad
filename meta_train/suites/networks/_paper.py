"""The paper's methods by name, all of one width."""

from __future__ import annotations

from collections.abc import Sequence

from nfn_optim.layers import HNPLinear, NPLinear, Pointwise
from nfn_optim.networks import EquivariantConfig, HeadConfig, InputConfig, TransformerConfig

from ..harness import Method
from ._baselines import FlatWeights, Renumbered, Statistics
from ._equivariant import Equivariant, Transformer


def paper_methods(
    names: Sequence[str],
    hidden: tuple[int, ...],
    head: HeadConfig,
    inputs: InputConfig,
    positions: InputConfig,
    dropout: float = 0.0,
) -> dict[str, Method]:
    """Some of `mlp`, `mlp-aug`, `statnn`, `pt`, `np` and `hnp`.

    Args:
        names: Which.
        hidden: Channels of the NF-Layers.
        head: The MLP after them, or on flat weights or statistics.
        inputs: How weights become channels for HNP.
        positions: The same for NP and PT, which need a code of inputs and outputs.
        dropout: Probability of dropping a channel of an NF-Layer.
    """
    flat = FlatWeights(head)
    methods: dict[str, Method] = {
        "mlp": flat,
        "mlp-aug": Renumbered(flat),
        "statnn": Statistics(head),
    }
    for name, layer, config in (
        ("pt", Pointwise, positions),
        ("np", NPLinear, positions),
        ("hnp", HNPLinear, inputs),
    ):
        methods[name] = Equivariant(EquivariantConfig(config, layer, hidden, dropout=dropout), head)
    return {name: methods[name] for name in names}


def paper_transformer(
    channels: int, blocks: int, head: HeadConfig, inputs: InputConfig, dropout: float = 0.0
) -> Transformer:
    """`nft`; its MLP is as wide as the last hidden layer of `head`."""
    config = TransformerConfig(inputs, channels, blocks, widening=2, dropout=dropout, latents=4)
    return Transformer(config, head.hidden[-1], head.dropout)
