"""The weight-space tuple: tensors of features over a network's parameters.

Shape legend used across the library: `*batch` leading axes, `*axes` the parameter's own axes (as
the spec labels them), `c` channels. Channels are last, so that a map on channels is one matrix
product over all entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from ._spec import NetworkSpec, SpecError


class WeightSpaceFeatures(Mapping[str, Tensor]):
    """A mapping from parameter name to a tensor `(*batch, *axes, c)`, together with its spec.

    Registered as a torch pytree, so it passes through `torch.func.vmap`, `grad` and `tree_map`.

    Args:
        spec: Describes the parameters' axes.
        tensors: One tensor for each parameter of the spec; the same `*batch` for all.

    Raises:
        SpecError: If a parameter is missing or unknown, or a tensor has other axes than the spec.
    """

    spec: NetworkSpec

    def __init__(self, spec: NetworkSpec, tensors: Mapping[str, Tensor]) -> None:
        self.spec = spec
        self._tensors = {name: tensors[name] for name in spec.names if name in tensors}
        self._check(tensors)

    @classmethod
    def from_params(cls, spec: NetworkSpec, params: Mapping[str, Tensor]) -> WeightSpaceFeatures:
        """From parameters as modules store them, `(*batch, *stored)` by name, with one channel."""
        return cls(spec, {n: spec.view(n, params[n]).unsqueeze(-1) for n in spec.names})

    @classmethod
    def from_state_dicts(
        cls, spec: NetworkSpec, state_dicts: Sequence[Mapping[str, Tensor]]
    ) -> WeightSpaceFeatures:
        """Stacks the parameters of several networks: `(networks, *axes, 1)`."""
        stacked = {name: torch.stack([sd[name] for sd in state_dicts]) for name in spec.names}
        return cls.from_params(spec, stacked)

    @classmethod
    def from_modules(cls, modules: Sequence[nn.Module]) -> WeightSpaceFeatures:
        """Stacks the parameters of modules of one architecture: `(modules, *axes, 1)`.

        Raises:
            SpecError: If the first module cannot be traced, or another has different parameters.
        """
        if not modules:
            raise SpecError("from_modules got no module. Pass at least one.")
        spec = NetworkSpec.from_module(modules[0])
        dicts = [dict(module.named_parameters()) for module in modules]
        for position, params in enumerate(dicts):
            for name in spec.names:
                if name not in params or tuple(params[name].shape) != spec.stored[name]:
                    got = tuple(params[name].shape) if name in params else "no such parameter"
                    raise SpecError(
                        f"module {position} has {got} for {name!r}, but module 0 has "
                        f"{spec.stored[name]}. Pass modules of one architecture."
                    )
        return cls.from_state_dicts(spec, dicts)

    @classmethod
    def from_tuple(
        cls, spec: NetworkSpec, weights: Sequence[Tensor], biases: Sequence[Tensor]
    ) -> WeightSpaceFeatures:
        """From the field's layout, channels second.

        Weights are `(batch, channels, n_out, n_in, *filter)`, biases `(batch, channels, n_out)`.

        Raises:
            SpecError: If the spec has another number of weights or biases, or other shapes.
        """
        names = (*spec.weights, *spec.vectors)
        if len(weights) != len(spec.weights) or len(biases) != len(spec.vectors):
            raise SpecError(
                f"got {len(weights)} weights and {len(biases)} biases; the spec has weights "
                f"{list(spec.weights)} and biases {list(spec.vectors)}."
            )
        tensors = zip(names, (*weights, *biases), strict=True)
        return cls(spec, {name: tensor.movedim(1, -1) for name, tensor in tensors})

    def to_tuple(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The inverse of `from_tuple`: `(weights, biases)` with channels second."""
        return (
            tuple(self[name].movedim(-1, 1) for name in self.spec.weights),
            tuple(self[name].movedim(-1, 1) for name in self.spec.vectors),
        )

    def to_params(self) -> dict[str, Tensor]:
        """The inverse of `from_params`; needs one channel.

        `torch.func.functional_call` under `vmap` takes them as they are.

        Raises:
            SpecError: If there is more than one channel.
        """
        if self.channels != 1:
            raise SpecError(
                f"parameters have one channel; the features have {self.channels}. Pick one, e.g. "
                "features.map(lambda t: t[..., :1])."
            )
        return {name: self.spec.unview(name, t.squeeze(-1)) for name, t in self.items()}

    def to_state_dicts(self) -> list[dict[str, Tensor]]:
        """One state dict a network; needs features of shape `(networks, *axes, 1)`.

        Raises:
            SpecError: If there is more than one channel or not exactly one batch axis.
        """
        if len(self.batch_shape) != 1:
            raise SpecError(
                f"to_state_dicts needs one batch axis; the batch shape is "
                f"{tuple(self.batch_shape)}."
            )
        params = self.to_params()
        return [{n: t[i] for n, t in params.items()} for i in range(self.batch_shape[0])]

    def map(self, fn: Callable[[Tensor], Tensor]) -> WeightSpaceFeatures:
        """Applies `fn` to every tensor; `fn` must keep the parameter axes."""
        return WeightSpaceFeatures(self.spec, {name: fn(t) for name, t in self.items()})

    def like(self, tensors: Sequence[Tensor]) -> WeightSpaceFeatures:
        """Features of the same network, a tensor a parameter in order; unchecked, for layers."""
        return _unflatten(tensors, self.spec)

    def to(self, *args: Any, **kwargs: Any) -> WeightSpaceFeatures:
        """`torch.Tensor.to` on every tensor."""
        return self.map(lambda t: t.to(*args, **kwargs))

    @property
    def channels(self) -> int:
        """Number of feature channels."""
        return next(iter(self.values())).shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """Leading axes shared by all tensors."""
        name = self.spec.names[0]
        return self[name].shape[: self[name].dim() - 1 - len(self.spec.shapes[name])]

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        lines = [f"  {name}: {tuple(t.shape)}" for name, t in self.items()]
        return "WeightSpaceFeatures(\n" + "\n".join(lines) + "\n)"

    def _check(self, given: Mapping[str, Tensor]) -> None:
        if set(given) != set(self.spec.names):
            odd = sorted(set(given) ^ set(self.spec.names))
            raise SpecError(f"features and spec do not name the same parameters: {odd} differ.")
        batch, channels = self.batch_shape, self.channels
        for name, tensor in self.items():
            expected = (*batch, *self.spec.shapes[name], channels)
            if tuple(tensor.shape) != expected:
                raise SpecError(
                    f"features of {name!r} have shape {tuple(tensor.shape)}; expected {expected} "
                    "(*batch, *axes, channels)."
                )


def _flatten(feats: WeightSpaceFeatures) -> tuple[list[Tensor], NetworkSpec]:
    return list(feats._tensors.values()), feats.spec


def _unflatten(tensors: Any, spec: Any) -> WeightSpaceFeatures:
    # Transforms pass placeholders and batched shapes through here, so nothing is checked.
    feats = WeightSpaceFeatures.__new__(WeightSpaceFeatures)
    feats.spec = spec
    feats._tensors = dict(zip(spec.names, tensors, strict=True))
    return feats


_pytree.register_pytree_node(
    WeightSpaceFeatures,
    _flatten,
    _unflatten,
    serialized_type_name="nfn_optim.WeightSpaceFeatures",
)
