"""The group action: renumbering the neurons of every population at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ._features import WeightSpaceFeatures
from ._spec import NetworkSpec

Permutations = Mapping[str, Tensor]


def random_permutations(spec: NetworkSpec, generator: torch.Generator) -> dict[str, Tensor]:
    """A random element of the spec's group: one permutation for each population it permutes.

    Populations that are made of heads are renumbered by whole heads and inside of each.
    """
    runs = {
        heads.numbering: torch.randperm(heads.num_runs, generator=generator)
        for heads in spec.heads.values()
        if heads.numbering not in spec.fixed
    }
    permutations: dict[str, Tensor] = {}
    for label in spec.populations:
        size, heads = spec.sizes[label], spec.heads.get(label)
        if heads is not None:
            permutations[label] = heads.permutation(size, runs.get(heads.numbering), generator)
        elif label in runs:
            permutations[label] = runs[label]
        else:
            permutations[label] = torch.randperm(size, generator=generator)
    return permutations


def permute(feats: WeightSpaceFeatures, permutations: Permutations) -> WeightSpaceFeatures:
    """Acts on features: along an axis labelled `l`, entry `i` becomes entry `permutations[l][i]`.

    Populations without a permutation stay as they are.
    """
    return WeightSpaceFeatures(
        feats.spec,
        {name: _permute(t, feats.spec.axes[name], permutations, 1) for name, t in feats.items()},
    )


def permute_params(
    spec: NetworkSpec, params: Mapping[str, Tensor], permutations: Permutations
) -> dict[str, Tensor]:
    """Acts on a network's parameters `(*batch, *stored)`; its function does not change."""
    return {
        name: spec.unview(
            name, _permute(spec.view(name, params[name]), spec.axes[name], permutations, 0)
        )
        for name in spec.names
    }


def _permute(
    tensor: Tensor, labels: tuple[str | None, ...], permutations: Permutations, trailing: int
) -> Tensor:
    first = tensor.dim() - len(labels) - trailing
    for axis, label in enumerate(labels, start=first):
        if label is not None and label in permutations:
            tensor = tensor.index_select(axis, permutations[label].to(tensor.device))
    return tensor
