"""Meta-trained rules on disk: safetensors with a card in the header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialize
from torch.nn.functional import pad

from ..files import read_tensors, write_whole
from ..hub import fetch, is_address
from ..rules import NFNRule, NFNRuleConfig

FORMAT = "nfn_optim.rule"
VERSION = "9"  # of the rule's meaning: the same weights under another version are another optimizer
_READ = ("3", "4", "5", "6", "7", "8", VERSION)
_LIMITS_OF_3 = {"horizon": 1_000.0, "memory": 2_000.0, "fan_in": 1_024.0, "weight_size": 2.0}
DEFAULT = "default"
SMALL = "small"
UNTRAINED = "untrained"


def save_rule(rule: NFNRule, path: str | Path, card: Mapping[str, Any] | None = None) -> None:
    """Writes a rule to a safetensors file, atomically.

    Args:
        rule: What to save.
        path: Where to.
        card: How the rule came about, as JSON values: family, settings, results.

    Raises:
        OSError: If it cannot be written; what was there before stays.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "rule": json.dumps(rule.get_config()),
        "card": json.dumps(dict(card or {})),
    }
    tensors = {n: t.contiguous() for n, t in rule.state_dict().items()}
    write_whole(Path(path), serialize(tensors, header))


def load_rule(checkpoint: str | Path = DEFAULT) -> NFNRule:
    """Reads a rule.

    Args:
        checkpoint: A file written by `save_rule`; `"default"` for the best for networks of any
            kind, which has passed `nfn-optim gate` or has learned nothing; `"untrained"` for a rule
            that has learned nothing; `"small"` for weights that were meta-trained on small MLPs
            and CNNs; or an address on the Hugging Face Hub, see `nfn_optim.hub.fetch`.

    Raises:
        FileNotFoundError: If there is no such file.
        ConnectionError: If it is on the Hub, which cannot be reached, and is not kept here.
        ValueError: If the file is truncated, of another version, or not a rule; if an address is
            none, or huggingface_hub is not installed.
    """
    if str(checkpoint) == UNTRAINED:
        return _untrained(NFNRuleConfig())
    header, tensors = _read(checkpoint)
    try:
        rule = _untrained(_config(header))
        rule.load_state_dict(_weights(header, tensors, rule))
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{checkpoint} does not hold the configuration and weights of an NFNRule: {error}"
        ) from error
    return rule


def read_card(checkpoint: str | Path = DEFAULT) -> dict[str, Any]:
    """The card of a checkpoint: how the rule came about; errors as for `load_rule`."""
    if str(checkpoint) == UNTRAINED:
        return {"family": "none: this rule has learned nothing"}
    header, _ = _read(checkpoint)
    return dict(json.loads(header["card"]))


def rule_hash(rule: torch.nn.Module) -> str:
    """Short hash of a rule's meta-parameters and configuration, to tell one rule from another."""
    digest = hashlib.sha256()
    if isinstance(rule, NFNRule):
        digest.update(json.dumps(rule.get_config(), sort_keys=True).encode())
    for name, tensor in sorted(rule.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def checkpoint_path(checkpoint: str | Path) -> Path:
    """The file behind a checkpoint's name, address or path; errors as for `load_rule`."""
    if is_address(checkpoint):
        return fetch(str(checkpoint))
    if str(checkpoint) in (DEFAULT, SMALL):
        return Path(str(files("nfn_optim") / "checkpoints" / f"{checkpoint}.safetensors"))
    path = Path(checkpoint)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no checkpoint {str(path)!r}. Give a file written by save_rule, {DEFAULT!r}, "
            f"{SMALL!r}, {UNTRAINED!r}, or hf://owner/name."
        )
    return path


def _untrained(config: NFNRuleConfig) -> NFNRule:
    """The same weights every time, so that states can be resumed; what they write is zero.

    Whatever torch's default type and device are, and without its random numbers.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(0)  # torch.manual_seed is for all devices
        return NFNRule(config).float()


def _config(header: Mapping[str, str]) -> NFNRuleConfig:
    """The rule's configuration.

    Files of version 3 had the same limits in common; until version 4 steps followed neither the
    size of the weights nor that of gradients. Until version 5 NF-Layers wrote how large the steps
    of whole parameters are, steps had their full size from the first, and became smaller beyond the
    limits. Until version 7 directions had no memory, until version 8 matrices were not scaled.
    """
    values = json.loads(header["rule"])
    if header["version"] == "3":
        values["limits"] = _LIMITS_OF_3
    if header["version"] in ("3", "4"):
        values |= {"relative": 0.0, "fading": 0.0}
    if header["version"] in ("3", "4", "5"):
        values |= {"first_share": 1.0, "centred": False, "careful": True}
    if header["version"] not in ("8", VERSION):
        values |= {"steep": 0}
    if header["version"] != VERSION:
        values |= {"scaling": 0.0}
    return NFNRuleConfig.from_dict(values)


def _weights(
    header: Mapping[str, str], tensors: Mapping[str, torch.Tensor], rule: NFNRule
) -> dict[str, torch.Tensor]:
    """The rule's weights.

    Until version 5 the schedule did not read the trend of gradients, until version 6 not whether
    they agree with where steps lead.
    """
    name, weights = "schedule.weight", dict(tensors)
    if header["version"] != VERSION and name in weights:
        missing = rule.schedule.in_features - weights[name].shape[1]
        weights[name] = pad(weights[name], (0, missing))
    return weights


def _read(checkpoint: str | Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Header and tensors of a checkpoint's file."""
    return read_tensors(checkpoint_path(checkpoint), FORMAT, _READ, "save_rule", checkpoint)
