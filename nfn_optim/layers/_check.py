"""The one check every layer makes: the features belong to the network it was built for."""

from __future__ import annotations

from torch import nn

from ..symmetry import NetworkSpec, SpecError, WeightSpaceFeatures


def check_features(
    layer: nn.Module, feats: WeightSpaceFeatures, spec: NetworkSpec, channels: int | None = None
) -> None:
    """Raises an error that names the layer and both sides if features and layer do not fit.

    Raises:
        SpecError: If the features are of another network or have another number of channels.
    """
    if feats.spec is not spec and not feats.spec.same_network(spec):
        raise SpecError(f"{type(layer).__name__} {_difference(feats.spec, spec)}")
    if channels is not None and feats.channels != channels:
        raise SpecError(
            f"{type(layer).__name__} was built for {channels} channels; the features have "
            f"{feats.channels}. Build the layer with in_channels={feats.channels}."
        )


def check_one_axis_each(layer: nn.Module, spec: NetworkSpec) -> None:
    """Refuses a network in which a parameter maps a population to itself.

    Raises:
        SpecError: Naming the parameter.
    """
    for name in spec.names:
        labels = [label for label in spec.labels(name) if label is not None]
        if len(set(labels)) < len(labels):
            raise SpecError(
                f"{type(layer).__name__} cannot treat {name!r}, whose axes {spec.axes[name]} run "
                "over one population twice. Use SharedNPLinear, or leave the parameter out with "
                "spec.subset(names)."
            )


def _difference(got: NetworkSpec, spec: NetworkSpec) -> str:
    for name in (*spec.names, *got.names):
        ours = (spec.axes.get(name), spec.shapes.get(name))
        theirs = (got.axes.get(name), got.shapes.get(name))
        if ours != theirs:
            return (
                f"was built for a network where {name!r} has labels {ours[0]} and shape {ours[1]}, "
                f"but the features' spec has {theirs[0]} and {theirs[1]}. Build the layer from the "
                "features' spec."
            )
    return (
        f"was built for parameters in the order {list(spec.names)}, but the features have "
        f"{list(got.names)}. Build the layer from the features' spec."
    )
