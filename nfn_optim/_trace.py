"""Reads the spec off a module: follows one population of neurons from layer to layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

from ._spec import Labels, NetworkSpec, Shape, SpecError

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_POOLS = tuple(
    getattr(nn, f"{kind}Pool{dim}d")
    for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg")
    for dim in (1, 2, 3)
)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_ELEMENTWISE = (nn.Identity, *(getattr(nn, name) for name in nn.modules.activation.__all__))
_NOT_ELEMENTWISE = (nn.MultiheadAttention, nn.PReLU, nn.GLU, nn.Softmax, nn.LogSoftmax, nn.Softmin)
_PASSES = tuple(m for m in _ELEMENTWISE if m not in _NOT_ELEMENTWISE)
_KEEPS_NEURONS = (*_PASSES, *_POOLS, *_DROPOUTS, nn.Flatten, nn.Softmax, nn.LogSoftmax)


@dataclass
class _Walk:
    """What has been read so far, and the neurons that the next layer will read."""

    axes: dict[str, Labels] = field(default_factory=dict)
    views: dict[str, Shape] = field(default_factory=dict)
    stored: dict[str, Shape] = field(default_factory=dict)
    neurons: str = "in"
    width: int | None = None

    def layer(self, name: str, module: nn.Linear | nn.modules.conv._ConvNd) -> None:
        """Adds one affine layer whose inputs are the current neurons."""
        weight = module.weight
        positions = self._positions(name, weight.shape[1])
        taps = (*((positions,) if positions > 1 else ()), *weight.shape[2:])
        source, self.neurons, self.width = self.neurons, name, weight.shape[0]
        labels = (name, source, *(None for _ in taps))
        view = (weight.shape[0], weight.shape[1] // positions, *taps)
        self._add(_join(name, "weight"), labels, view, tuple(weight.shape))
        if module.bias is not None:
            shape = tuple(module.bias.shape)
            self._add(_join(name, "bias"), (name,), shape, shape)

    def _positions(self, name: str, inputs: int) -> int:
        """Positions that every incoming neuron fills (more than one after a Flatten)."""
        if self.width is None:
            return 1
        if inputs % self.width:
            raise SpecError(
                f"submodule {name!r} reads {inputs} inputs, which is no multiple of the "
                f"{self.width} neurons before it. Check the layer sizes."
            )
        return inputs // self.width

    def _add(self, name: str, labels: Labels, view: Shape, stored: Shape) -> None:
        self.axes[name], self.views[name], self.stored[name] = labels, view, stored


def trace(module: nn.Module) -> NetworkSpec:
    """Reads `nn.Sequential` networks, nested ones included, and single layers.

    Understood are Linear and convolutions (ungrouped), elementwise activations, pooling, dropout and
    Flatten. A Linear after Flatten reads channels x positions: the positions become an axis whose
    order matters, like kernel taps.

    Raises:
        SpecError: Naming the submodule that cannot be read and what to do instead.
    """
    walk = _Walk()
    for name, leaf in _leaves(module, ""):
        _visit(walk, name, leaf)
    if not walk.axes:
        raise SpecError(f"{type(module).__name__} has no Linear or convolution to describe.")
    last = walk.neurons
    axes = {n: tuple("out" if a == last else a for a in labels) for n, labels in walk.axes.items()}
    return NetworkSpec(axes, walk.views, io=("in", "out"), stored=walk.stored)


def _leaves(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(module, nn.Sequential):
        yield prefix, module
        return
    for name, child in module.named_children():
        yield from _leaves(child, _join(prefix, name))


def _visit(walk: _Walk, name: str, leaf: nn.Module) -> None:
    if isinstance(leaf, nn.Linear):
        walk.layer(name, leaf)
    elif isinstance(leaf, _CONVS) and leaf.groups == 1:
        walk.layer(name, leaf)
    elif not isinstance(leaf, _KEEPS_NEURONS):
        what = f"grouped {type(leaf).__name__}" if isinstance(leaf, _CONVS) else type(leaf).__name__
        raise SpecError(
            f"submodule {name!r} ({what}) cannot be read: it is no Linear, convolution, elementwise "
            "activation, pooling, dropout or Flatten in an nn.Sequential. Describe the network by "
            "hand with NetworkSpec({'name': (labels, ...)}, shapes)."
        )


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
