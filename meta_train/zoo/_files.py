"""Zoos on disk: tensors as safetensors, and a manifest that says what they are."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from nfn_optim import Heads, NetworkSpec, WeightSpaceFeatures
from nfn_optim.files import write_whole

from ..tasks import Params

FORMAT, VERSION = "meta_train.zoo", 1
MANIFEST, TENSORS = "manifest.json", "zoo.safetensors"
_WEIGHT, _LABEL = "weights/", "labels/"
_FIELDS = {  # of a manifest
    "version": int,
    "networks": int,
    "sha256": str,
    "spec": dict,
    "categories": dict,
    "info": dict,
}


@dataclass(frozen=True, eq=False)
class Zoo:
    """Networks and what is known about each of them.

    Attributes:
        features: Weights of `n` networks, `(n, *axes, 1)`.
        labels: Numbers by name (accuracy, learning rate, ...), each `(n, ...)`.
        categories: What the values of integer labels mean, e.g. `{"activation": ("relu", "tanh")}`.
        info: How the zoo came about, as JSON values.
    """

    features: WeightSpaceFeatures
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = {k: tuple(t.shape) for k, t in self.labels.items() if t.shape[:1] != (len(self),)}
        if wrong:
            raise ValueError(f"{len(self)} networks have labels of the shapes {wrong}. Match them.")

    def __len__(self) -> int:
        return self.features.batch_shape[0]

    @classmethod
    def from_params(cls, spec: NetworkSpec, params: Params, **fields: Any) -> Zoo:
        """A zoo of stacked parameters `(n, *stored)` by name; `fields` are the other attributes."""
        return cls(WeightSpaceFeatures.from_params(spec, params), **fields)

    def take(self, index: Tensor | slice) -> Zoo:
        """Some of the networks: indices, a mask such as `zoo.labels["step"] == 500`, or a slice."""
        features = self.features.map(lambda tensor: tensor[index])
        labels = {name: tensor[index] for name, tensor in self.labels.items()}
        return Zoo(features, labels, self.categories, self.info)


def save_zoo(zoo: Zoo, folder: str | Path) -> None:
    """Writes a zoo: `zoo.safetensors`, and `manifest.json` with its spec, origin and checksum.

    Args:
        zoo: What to save.
        folder: Where to; made where it does not exist. A zoo there is replaced.

    Raises:
        ValueError: If `info` or `categories` have no JSON form; nothing is written then.
    """
    folder = Path(folder)
    spec = zoo.features.spec
    params = zoo.features.to_params()
    tensors = {_WEIGHT + name: tensor for name, tensor in params.items()}
    tensors |= {_LABEL + name: tensor for name, tensor in zoo.labels.items()}
    content = save({name: _alone(tensor) for name, tensor in tensors.items()}, {"format": FORMAT})
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "networks": len(zoo),
        "sha256": hashlib.sha256(content).hexdigest(),
        "spec": _spec_to_json(spec),
        "categories": dict(zoo.categories),
        "info": dict(zoo.info),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    described = _as_json(manifest, folder / MANIFEST)  # before anything is replaced
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / TENSORS, content)
    write_whole(folder / MANIFEST, described)


def is_zoo(folder: Path) -> bool:
    """Whether `save_zoo` wrote a folder."""
    return (folder / MANIFEST).is_file()


def load_zoo(folder: str | Path) -> Zoo:
    """Reads what `save_zoo` wrote.

    Args:
        folder: With `zoo.safetensors` and `manifest.json`.

    Raises:
        FileNotFoundError: If one of the two is missing.
        ValueError: If one is damaged, of another version, or not a zoo's, or they do not match.
    """
    folder = Path(folder)
    for name in (MANIFEST, TENSORS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} holds no zoo: {name} is missing. Give a folder written by save_zoo."
            )
    manifest = _read_manifest(folder / MANIFEST)
    content = (folder / TENSORS).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise ValueError(
            f"{folder / TENSORS} is truncated or not the file that {MANIFEST} describes: its "
            "checksum differs. Copy it again."
        )
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(f"{folder / TENSORS} is no safetensors file ({error}).") from error
    try:
        zoo = _as_zoo(manifest, tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{folder / MANIFEST} does not describe {TENSORS} ({type(error).__name__} {error}). "
            "Copy both again."
        ) from error
    if len(zoo) != manifest["networks"]:
        raise ValueError(
            f"{folder / MANIFEST} says {manifest['networks']} networks, but {TENSORS} holds "
            f"{len(zoo)}. Copy both again."
        )
    return zoo


def _as_zoo(manifest: Mapping[str, Any], tensors: Params) -> Zoo:
    spec = _spec_from_json(manifest["spec"])
    return Zoo.from_params(
        spec,
        {name: tensors[_WEIGHT + name] for name in spec.names},
        labels={n.removeprefix(_LABEL): t for n, t in tensors.items() if n.startswith(_LABEL)},
        categories={name: tuple(values) for name, values in manifest["categories"].items()},
        info=manifest["info"],
    )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). Copy it again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{path} is not the manifest of a zoo. Give a folder written by save_zoo.")
    if manifest.get("version", VERSION) != VERSION:
        raise ValueError(
            f"{path} has version {manifest['version']}; this meta_train reads version {VERSION}. "
            "Install the release that wrote it, or make the zoo again."
        )
    missing = [
        f"{name} ({kind.__name__})"
        for name, kind in _FIELDS.items()
        if not isinstance(manifest.get(name), kind)
    ]
    if missing:
        raise ValueError(f"{path} is damaged: it has no {', '.join(missing)}. Copy it again.")
    return manifest


def _alone(tensor: Tensor) -> Tensor:
    """A copy: safetensors refuses tensors that share memory."""
    return tensor.clone(memory_format=torch.contiguous_format)


def _as_json(manifest: Mapping[str, Any], path: Path) -> bytes:
    try:
        return json.dumps(manifest, indent=1).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be written: {error}. The zoo's info and categories must be JSON "
            "values: strings, numbers, lists and dicts."
        ) from error


def _spec_to_json(spec: NetworkSpec) -> dict[str, Any]:
    heads = {label: asdict(group) for label, group in spec.heads.items()}
    tables = {name: dict(getattr(spec, name)) for name in ("axes", "shapes", "stored", "orders")}
    sets = {name: sorted(getattr(spec, name)) for name in ("io", "pinned", "fixed", "tables")}
    return {**tables, **sets, "maps": dict(spec.maps), "heads": heads}


def _spec_from_json(content: Mapping[str, Any]) -> NetworkSpec:
    """The inverse; zoos of before say nothing of heads, maps and tables."""
    heads = {label: Heads(**group) for label, group in content.get("heads", {}).items()}
    known = ("io", "pinned", "fixed", "stored", "orders", "maps", "tables")
    return NetworkSpec(
        content["axes"],
        content["shapes"],
        heads=heads,
        **{name: content[name] for name in known if name in content},
    )
