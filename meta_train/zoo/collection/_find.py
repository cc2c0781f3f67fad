"""Files of networks in a folder, and what is in them."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from nfn_optim.symmetry import WRAPPERS

from ...tasks import Params
from ._bad import BadNetwork

SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
CONFIG = "config.json"
_REPOSITORY = ("model.safetensors", "pytorch_model.bin")  # the first that is there counts
_PART = re.compile(r"-\d+-of-\d+$")
_KEYS = ("state_dict", "model_state_dict", "model")  # of what is saved beside a state dict
_PREFIXES = tuple(f"{name}." for name in WRAPPERS)


@dataclass(frozen=True)
class NetworkFile:
    """Where the weights of a network are.

    Attributes:
        path: The file.
        config: The `config.json` beside it, in a folder as Hugging Face's libraries write it.
    """

    path: Path
    config: Path | None = None

    def read(self) -> Params:
        """The state dict.

        Raises:
            BadNetwork: If the file is damaged, or holds something else.
        """
        if _PART.search(self.path.stem):
            raise BadNetwork("is one of several files of a network; save it in one file")
        read = load_file if self.path.suffix == ".safetensors" else _unpickle
        try:
            content = read(self.path)
        except pickle.UnpicklingError as error:
            raise BadNetwork(
                "is damaged, or holds more than tensors; save model.state_dict(), not the model"
            ) from error
        except Exception as error:  # damaged pickles raise nearly anything
            raise BadNetwork(f"cannot be read ({_short(error)})") from error
        return as_state_dict(content)

    def read_config(self) -> dict[str, Any]:
        """What is in `config.json`.

        Raises:
            BadNetwork: If there is none, or it is damaged.
        """
        if self.config is None:
            raise BadNetwork(f"has no {CONFIG} to build its module from")
        try:
            content = json.loads(self.config.read_text())
        except (OSError, ValueError) as error:
            raise BadNetwork(f"has a {CONFIG} that cannot be read ({_short(error)})") from error
        if not isinstance(content, dict):
            raise BadNetwork(f"has a {CONFIG} that is no JSON object")
        return content


def find_networks(folder: Path) -> dict[str, NetworkFile]:
    """The networks in a folder and the folders in it, by name.

    A folder with `config.json` and `model.safetensors` (or `pytorch_model.bin`) is one network,
    with the name of the folder. Any other file of `SUFFIXES` is one, with its path without the
    ending.

    Raises:
        FileNotFoundError: If there is no such folder, or no network in it.
        ValueError: If two files have the same name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}. Give one with state dicts.")
    found: dict[str, NetworkFile] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix not in SUFFIXES or not path.is_file():
            continue
        config, weights = path.parent / CONFIG, _weights_of(path.parent)
        if weights is not None and config.is_file():
            if path == weights:
                name = path.parent.relative_to(folder).as_posix()
                _add(found, name, NetworkFile(path, config))
        else:
            name = path.relative_to(folder).with_suffix("").as_posix()
            _add(found, name, NetworkFile(path))
    if not found:
        raise FileNotFoundError(
            f"{folder} has no network. Give a folder with files that end in "
            f"{', '.join(SUFFIXES)}, or with folders that hold {CONFIG} and {_REPOSITORY[0]}."
        )
    return found


def short_name(name: str) -> str:
    """A network's name from what a table may call it: a file, its path or its folder."""
    path = Path(name.strip().removeprefix("./"))
    if path.name in _REPOSITORY:
        return path.parent.as_posix()
    return (path.with_suffix("") if path.suffix in SUFFIXES else path).as_posix()


def as_state_dict(content: Any) -> Params:
    """A state dict alone, without what is wrapped around it.

    Raises:
        BadNetwork: If it is something else.
    """
    for key in _KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise BadNetwork(f"holds a {type(content).__name__}, and no state dict")
    wrong = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if wrong:
        raise BadNetwork(f"holds {', '.join(wrong[:3])}, which are no tensors; save a state dict")
    params = {str(name): value.detach() for name, value in content.items()}
    while any(all(name.startswith(prefix) for name in params) for prefix in _PREFIXES):
        params = {name.partition(".")[2]: value for name, value in params.items()}
    return params


def _weights_of(folder: Path) -> Path | None:
    return next((folder / n for n in _REPOSITORY if (folder / n).is_file()), None)


def _add(found: dict[str, NetworkFile], name: str, file: NetworkFile) -> None:
    if name in found:
        raise ValueError(
            f"{found[name].path} and {file.path} are both network {name!r}. Rename one of them."
        )
    found[name] = file


def _unpickle(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _short(error: Exception) -> str:
    """The first sentence of an error."""
    text = re.split(r"[\n.]", str(error).strip(), maxsplit=1)[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
