"""Checkpoints on the Hugging Face Hub, fetched by huggingface_hub: its cache, its tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

RULE_FILE = "rule.safetensors"
"""What a checkpoint's file is called in its repository."""

_PREFIX = "hf://"
_ADDRESS = re.compile(r"hf://([^/@]+/[^/@]+)(?:@([^/@]+))?(?:/([^/].*))?")


def is_address(checkpoint: str | Path) -> bool:
    """Whether a checkpoint is on the Hub, and not a file or a name."""
    return str(checkpoint).startswith(_PREFIX)


def address_of(repo: str, revision: str | None = None) -> str:
    """What `fetch` takes, of a repository's `rule.safetensors`; slashes of a branch become %2F."""
    return _PREFIX + repo + ("" if revision is None else f"@{quote(revision, safe='')}")


def fetch(address: str) -> Path:
    """The file behind an address; downloads it where huggingface_hub's cache does not have it.

    Without a network it is what the cache has.

    Args:
        address: `hf://owner/name`; with a branch, tag or commit, `hf://owner/name@v1`,
            where a slash is written as %2F; with another file than `rule.safetensors`,
            `hf://owner/name/folder/other.safetensors`.

    Raises:
        ValueError: If it is no such address, or huggingface_hub is not installed.
        FileNotFoundError: If there is no such repository, revision or file, or one may not read it.
        ConnectionError: If the Hub cannot be reached, and the cache does not have the file.
    """
    repo, revision, file = _parts(address)
    hub = huggingface_hub()
    errors = hub.errors
    try:
        return Path(hub.hf_hub_download(repo, file, revision=revision))
    except errors.HFValidationError as error:
        raise ValueError(f"{address!r} names no repository: {error}") from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(
            f"{address}: {repo} has no branch, tag or commit {revision!r}. Leave it out for the "
            "newest."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{address}: there is no model {repo} on the Hub that you may read. Check the name; if "
            "it is private or gated, log in with a token that may read it (hf auth login)."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"{address}: the Hub cannot be reached ({error.__cause__ or error}), and nothing is "
            "kept of it here. Try again with a network, or give a file."
        ) from error
    except errors.EntryNotFoundError as error:
        raise FileNotFoundError(
            f"{address}: {repo} has no file {file}. If its checkpoint has another name, write "
            f"{_PREFIX}{repo}/NAME.safetensors."
        ) from error
    except errors.HTTPError as error:
        raise ConnectionError(f"{address} cannot be downloaded: {error}. Try again.") from error


def huggingface_hub() -> Any:
    """The package.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ValueError(
            "checkpoints on the Hub need huggingface_hub, which is not installed. Install it with "
            "pip install 'nfn-optim[hub]'."
        ) from error
    return huggingface_hub


def _parts(address: str) -> tuple[str, str | None, str]:
    """Repository, revision and file."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(
            f"{address!r} is no address on the Hub. Write hf://owner/name, hf://owner/name@v1 "
            "or hf://owner/name/file.safetensors."
        )
    repo, revision, file = found.groups()
    return repo, revision and unquote(revision), file or RULE_FILE
