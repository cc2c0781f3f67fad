"""Which spec describes a state dict: a given one, a traced module's, or a chain of layers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Any

from torch import nn

from nfn_optim import NetworkSpec, SpecError
from nfn_optim.symmetry import infer_chain

from ...tasks import Params
from ._bad import BadNetwork

Build = Callable[[dict[str, Any]], nn.Module]
Like = NetworkSpec | nn.Module | Sequence[NetworkSpec | nn.Module] | Build | None
"""What networks are like: specs or modules, a function from `config.json` to a module, or None for
chains of layers that are read off their shapes."""

ReadConfig = Callable[[], dict[str, Any]]
SpecOf = Callable[[Params, ReadConfig], NetworkSpec]
"""The spec of a state dict; raises BadNetwork where there is none."""

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_ORDERS = 500  # of layers, that are tried


def spec_finder(like: Like) -> SpecOf:
    """How the specs of state dicts are found.

    Raises:
        SpecError: If a module cannot be traced.
        ValueError: If `like` is something else, or empty.
    """
    if like is None:
        return lambda params, config: _chain(params)
    if isinstance(like, NetworkSpec | nn.Module):
        like = (like,)
    if isinstance(like, Sequence) and like:
        wrong = [type(one).__name__ for one in like if not isinstance(one, NetworkSpec | nn.Module)]
        if not wrong:
            return partial(_one_of, tuple(map(_Blueprint.of, like)))
    elif callable(like):
        return _Built(like, {}).find
    raise ValueError(
        f"like is a {type(like).__name__}; give a NetworkSpec, a module, a list of them, or a "
        "function that makes a module from a config."
    )


@dataclass(frozen=True)
class _Blueprint:
    """A spec, and what else a state dict may hold."""

    spec: NetworkSpec
    others: frozenset[str]

    @classmethod
    def of(cls, like: NetworkSpec | nn.Module) -> _Blueprint:
        if isinstance(like, NetworkSpec):
            return cls(like, frozenset())
        spec = NetworkSpec.from_module(like)
        return cls(spec, frozenset(like.state_dict()) - set(spec.names))

    def mismatch(self, params: Params) -> str | None:
        """What does not fit, if something does not."""
        stored = self.spec.stored
        missing = [name for name in stored if name not in params]
        if missing:
            return f"has no {_listed(missing)}; expected {_listed(stored)}, got {_listed(params)}"
        odd = [name for name in params if name not in stored and name not in self.others]
        if odd:
            return f"has {_listed(odd)} too; expected {_listed(stored)} and no others"
        for name, shape in stored.items():
            if tuple(params[name].shape) != shape:
                return f"has {tuple(params[name].shape)} for {name!r}; expected the shape {shape}"
        return None


def _one_of(blueprints: Sequence[_Blueprint], params: Params, config: ReadConfig) -> NetworkSpec:
    """The first spec that fits."""
    reasons = []
    for blueprint in blueprints:
        reason = blueprint.mismatch(params)
        if reason is None:
            return blueprint.spec
        reasons.append(reason)
    several = f"fits none of {len(reasons)} architectures; by the first it " if reasons[1:] else ""
    raise BadNetwork(several + reasons[0])


@dataclass(frozen=True)
class _Built:
    """Modules made from configs, traced once each."""

    build: Build
    known: dict[str, _Blueprint]

    def find(self, params: Params, config: ReadConfig) -> NetworkSpec:
        """The spec of the module that the network's config describes."""
        content = config()
        key = json.dumps(content, sort_keys=True)
        if key not in self.known:
            try:
                self.known[key] = _Blueprint.of(self.build(content))
            except Exception as error:
                raise BadNetwork(
                    f"has a config from which no module can be made ({type(error).__name__}: "
                    f"{error})"
                ) from error
        return _one_of((self.known[key],), params, config)


def _chain(params: Params) -> NetworkSpec:
    """The one chain of layers that the shapes form.

    The order is the file's where it makes a chain, since torch saves in the order of the module;
    safetensors sorts names, and there numbers in names tell the order.
    """
    shapes = {n: tuple(p.shape) for n, p in params.items() if not n.endswith(_BUFFERS)}
    layers: dict[str, list[str]] = {}
    for name in shapes:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    if not _is_sorted(layers):
        try:
            return infer_chain(shapes)
        except SpecError as error:
            raise _no_chain(str(error)) from error
    for members in layers.values():
        members.sort(key=lambda name: len(shapes[name]), reverse=True)  # a weight before its bias
    found: list[NetworkSpec] = []
    reason = "no order of its layers fits"
    for order in islice(_orders(_alike(layers)), _ORDERS):
        try:
            found.append(infer_chain({n: shapes[n] for layer in order for n in layers[layer]}))
        except SpecError as error:
            reason = str(error)
    found = [spec for spec in found if _flattens_images(spec)]
    if len(found) == 1:
        return found[0]
    raise _no_chain("several orders of its layers fit" if found else reason)


def _flattens_images(spec: NetworkSpec) -> bool:
    """Whether only what comes from a convolution is flattened: a Linear alone has one position."""
    return all(
        len(spec.shapes[name]) == len(spec.stored[name]) or len(spec.stored[before]) > 2
        for before, name in pairwise(spec.weights)
    )


def _is_sorted(layers: Mapping[str, list[str]]) -> bool:
    """Whether names come sorted, so that their order says nothing."""
    names = [name for members in layers.values() for name in members]
    return names == sorted(names)


def _alike(layers: Mapping[str, Any]) -> list[list[str]]:
    """Layers with names that differ in numbers alone, by these numbers."""
    groups: dict[str, list[str]] = {}
    for layer in layers:
        groups.setdefault(re.sub(r"\d+", "#", layer), []).append(layer)
    for group in groups.values():
        group.sort(key=lambda layer: [int(number) for number in re.findall(r"\d+", layer)])
    return list(groups.values())


def _orders(groups: list[list[str]]) -> Iterator[list[str]]:
    """All ways to merge lists without changing the order in any."""
    left = [group for group in groups if group]
    if not left:
        yield []
    for position, group in enumerate(left):
        rest = [*left[:position], group[1:], *left[position + 1 :]]
        for order in _orders(rest):
            yield [group[0], *order]


def _no_chain(reason: str) -> BadNetwork:
    return BadNetwork(
        f"is no certain chain of layers: {reason.rstrip('.')}. Say what it is like: give a module "
        "or a spec"
    )


def _listed(names: Mapping[str, Any] | Sequence[str]) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
