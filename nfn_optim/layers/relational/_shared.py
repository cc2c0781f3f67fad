"""What layers whose weights belong to relations have in common: they run on any network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn

from ...symmetry import NetworkSpec, SpecError, WeightSpaceFeatures
from ._pack import PackedFeatures
from ._parts import Means, Slice, Terms, add_terms
from ._roles import ParameterAxes, Roles, roles_of


class SharedLayer(nn.Module, ABC):
    """A layer from features of any network, or of packed ones, to such features.

    Only `entries` touches all entries; `terms` works on vectors of neurons. A caller may run
    `entries` and pooling on slices along the output axis.

    Args:
        in_channels: Channels of the input features.
        out_channels: Channels of the output features.
        context_channels: Channels of the per-parameter descriptors given to `forward`.
    """

    def __init__(self, in_channels: int, out_channels: int, context_channels: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.context_channels = context_channels

    @abstractmethod
    def pool(self, parameter: ParameterAxes, part: Slice) -> Means:
        """The means of a slice that `terms` reads."""

    @abstractmethod
    def entries(self, parameter: ParameterAxes, part: Slice) -> Slice:
        """Maps entries and, separately, their means over taps."""

    @abstractmethod
    def terms(
        self, roles: Roles, pooled: Mapping[str, Means], context: Tensor | None
    ) -> dict[str, Terms]:
        """What is added to the entries; `context` has descriptors `(k, *b, parameters)`."""

    @abstractmethod
    def packed(self, feats: PackedFeatures, context: Tensor | None) -> PackedFeatures:
        """The layer on packed networks; `context` has descriptors `(parameters, k)`."""

    @overload
    def forward(
        self, feats: WeightSpaceFeatures, context: Mapping[str, Tensor] | None = None
    ) -> WeightSpaceFeatures: ...

    @overload
    def forward(
        self, feats: PackedFeatures, context: Sequence[Mapping[str, Tensor]] | None = None
    ) -> PackedFeatures: ...

    def forward(self, feats: Any, context: Any = None) -> Any:
        """Applies the layer; `context` has descriptors `(*batch, context_channels)` by name.

        For packed networks `context` is a list of these, one for each network.

        Raises:
            SpecError: If a parameter runs over three populations or more; for packed networks, if
                channels or descriptors are not those that the layer was built for.
        """
        if isinstance(feats, PackedFeatures):
            self._check_packed(feats, context)
            return self.packed(feats, None if context is None else feats.pack.stack(context))
        return self._forward(feats, context)

    def _check_packed(self, feats: PackedFeatures, context: object) -> None:
        name = type(self).__name__
        if feats.channels != self.in_channels:
            raise SpecError(
                f"{name} was built for {self.in_channels} channels; the features have "
                f"{feats.channels}. Build the layer with in_channels={feats.channels}."
            )
        if (context is None) != (self.context_channels == 0):
            got = "none" if context is None else "some"
            raise SpecError(
                f"{name} was built for {self.context_channels} descriptors a parameter; forward "
                f"got {got}. Give context, or build the layer with other context_channels."
            )

    def _forward(
        self, feats: WeightSpaceFeatures, context: Mapping[str, Tensor] | None
    ) -> WeightSpaceFeatures:
        spec, roles = feats.spec, roles_of(feats.spec)
        whole = {}
        for p in roles.parameters:
            x = _rearranged(p.name, feats[p.name].movedim(-1, 0), spec, roles.spec)
            whole[p.name] = Slice.of(p, x)
        described = None
        if context is not None:
            described = torch.stack([context[p.name].movedim(-1, 0) for p in roles.parameters], -1)
        pooled = {p.name: self.pool(p, whole[p.name]) for p in roles.parameters}
        terms = self.terms(roles, pooled, described)
        out = {}
        for p in roles.parameters:
            y = add_terms(p, self.entries(p, whole[p.name]), terms[p.name])
            out[p.name] = _rearranged(p.name, y, roles.spec, spec).movedim(0, -1)
        return WeightSpaceFeatures(spec, out)


def _rearranged(name: str, x: Tensor, given: NetworkSpec, wanted: NetworkSpec) -> Tensor:
    """`(c, *b, *axes)` with the axes in the order of another spec of the same network."""
    return x if given is wanted else wanted.view(name, given.unview(name, x))


def map_channels(weight: Tensor, x: Tensor) -> Tensor:
    """`weight` (o, c) on the channels of `x` (c, ...), one matrix product.

    What is returned may be written to in place: a view of the product would make autograd copy all
    of it on the way back, so the reshape is then the one that `torch.matmul` itself ends with.
    """
    product = weight @ x.reshape(x.shape[0], -1)
    shape = (weight.shape[0], *x.shape[1:])
    if not product.requires_grad:
        return product.view(shape)
    mapped: Tensor = torch.ops.aten._unsafe_view(product, shape)
    return mapped
