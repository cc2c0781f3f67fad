"""The command `nfn-optim push`: a checkpoint with its card to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import tyro

from ._console import write_json


def push(
    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")],
    repo: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OWNER/NAME")],
    /,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload a learned optimizer",
    license: str = "mit",
    json: Path | None = None,
) -> None:
    """Uploads a checkpoint to the Hugging Face Hub, with its card as the repository's page.

    The repository is made if it is not there; the file and the page are one commit. Then
    `NFNOptimizer(model, checkpoint="hf://OWNER/NAME")` takes it.

    Args:
        checkpoint: A file written by `train`, or `small`.
        repo: The repository.
        private: Make the repository private; refused for one that is public already.
        revision: Branch to commit to, made if it is not there; `main` without.
        message: Of the commit.
        license: What others may do with it, by the Hub's name for the license.
        json: Where to write the addresses of what was uploaded.
    """
    from nfn_optim.hub import RULE_FILE, address_of, huggingface_hub
    from nfn_optim.optimizer import checkpoint_path, load_rule, read_card

    from ..evaluation.contenders import has_learned
    from ..support import check_overwrite
    from ._model_card import model_card

    hub = huggingface_hub()
    check_overwrite(json)
    _check_name(repo)
    rule = load_rule(checkpoint)
    if not has_learned(rule):
        raise ValueError(
            f"{checkpoint} has learned nothing: NFNOptimizer(model, checkpoint='untrained') is the "
            "same everywhere. Give a file that `nfn-optim train` wrote."
        )
    address = address_of(repo, revision)
    page = model_card(rule, read_card(checkpoint), repo, address, license)
    files = {RULE_FILE: checkpoint_path(checkpoint).read_bytes(), "README.md": page.encode()}
    with _refusals(hub, repo):
        commit = _upload(hub.HfApi(), repo, files, private, revision, message)
    print(f"Uploaded: {commit.commit_url}")
    print(f'Use it:   NFNOptimizer(model, checkpoint="{address}")')
    write_json(json, {"checkpoint": address, "url": commit.commit_url, "commit": commit.oid})


def _check_name(repo: str) -> None:
    """Refuses what is no name of a repository with its owner, and uploads without a token."""
    from huggingface_hub import get_token
    from huggingface_hub.utils import validate_repo_id

    owner, slash, name = repo.partition("/")
    if not (owner and slash and name):
        raise ValueError(f"{repo!r} names no repository with its owner. Write owner/name.")
    validate_repo_id(repo)
    if get_token() is None:
        raise ValueError(
            f"uploading to {repo} needs a token that may write there. Log in (hf auth login), or "
            "set HF_TOKEN."
        )


def _upload(
    api: Any,
    repo: str,
    files: dict[str, bytes],
    private: bool,
    revision: str | None,
    message: str,
) -> Any:
    """Makes the repository and the branch, where they are not there, and commits all files."""
    from huggingface_hub import CommitOperationAdd

    api.create_repo(repo, private=private or None, exist_ok=True)
    if private and not api.repo_info(repo).private:
        raise ValueError(
            f"{repo} is there already and is public; nothing was uploaded. Make it private in its "
            "settings, give another name, or leave out --private."
        )
    if revision is not None:
        api.create_branch(repo, branch=revision, exist_ok=True)
    added = [CommitOperationAdd(name, content) for name, content in files.items()]
    return api.create_commit(repo, added, commit_message=message, revision=revision)


@contextmanager
def _refusals(hub: Any, repo: str) -> Iterator[None]:
    """What the Hub and the network refuse, in one line."""
    try:
        yield
    except hub.errors.HfHubHTTPError as error:
        raise PermissionError(
            f"the Hub refused {repo}: {error}. Check the name, and that the token may write there "
            "(hf auth whoami)."
        ) from error
    except hub.errors.HTTPError as error:
        raise ConnectionError(
            f"the Hub cannot be reached ({error}); {repo} may lack the upload. Give the same "
            "command again with a network."
        ) from error
