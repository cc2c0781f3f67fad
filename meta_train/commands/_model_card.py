"""A checkpoint's card as a page of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nfn_optim import NFNRule

_TAGS = ["learned-optimizer", "meta-learning", "optimizer", "pytorch"]
_USE = """\
# {name}

A learned optimizer for PyTorch: {weights:,} meta-trained weights for `NFNOptimizer` of nfn_optim.

```python
from nfn_optim import NFNOptimizer  # with huggingface_hub: pip install 'nfn-optim[hub]'

optimizer = NFNOptimizer(model, checkpoint="{address}")
```

Then `zero_grad`, `backward` and `step` as with any optimizer; there is no learning rate to tune.
"""
_FACTS = {
    "data": "data",
    "command": "command",
    "outer_steps": "outer steps",
    "wall_seconds": "seconds",
    "hardware": "hardware",
    "git": "code",
    "versions": "versions",
}
_LISTS = {"limits": "Limits", "failures": "Where it fails"}


def model_card(
    rule: NFNRule, card: Mapping[str, Any], repo: str, address: str, license: str
) -> str:
    """The page: how to use the rule, what it was trained on, what the gate found, its limits.

    Args:
        rule: What was trained.
        card: Of its checkpoint.
        repo: Where it will be, `owner/name`.
        address: What checkpoints are called there, `hf://owner/name`.
        license: By the Hub's name for it.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(library_name="nfn_optim", license=license, tags=_TAGS)
    use = _USE.format(
        name=repo.partition("/")[2],
        weights=sum(p.numel() for p in rule.parameters()),
        address=address,
    )
    text = "\n".join([use, *_training(card, address), *_gate(card.get("gate")), *_lists(card)])
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}"))


def _training(card: Mapping[str, Any], address: str) -> Iterator[str]:
    yield "## What it was trained on\n"
    yield f"```\n{card.get('family', 'The card does not say.')}\n```\n"
    for key, name in _FACTS.items():
        if card.get(key) not in (None, ""):
            yield f"- {name}: {_inline(card[key])}"
    yield f"\nAll settings: `nfn-optim info --checkpoint {address}`.\n"


def _gate(gate: Mapping[str, Any] | None) -> Iterator[str]:
    """What `nfn-optim gate --record` found."""
    yield "## May it become the default?\n"
    if gate is None:
        yield "`nfn-optim gate` has not compared it with the rule that has learned nothing.\n"
        return
    passed = all(condition["holds"] for condition in gate["conditions"])
    verdict, tasks = "ship" if passed else "do not ship", ", ".join(gate["tasks"])
    yield f"`nfn-optim gate` says: {verdict} ({tasks}; {gate['seeds']} seeds).\n"
    yield "| asked | found | where | holds |\n| --- | --- | --- | --- |"
    for each in gate["conditions"]:
        holds = "yes" if each["holds"] else "no"
        yield f"| {each['asked']} | {each['figure']} | {each['where']} | {holds} |"
    yield ""


def _lists(card: Mapping[str, Any]) -> Iterator[str]:
    for key, title in _LISTS.items():
        lines: Sequence[str] = card.get(key) or ()
        if lines:
            yield "\n".join([f"## {title}\n", *(f"- {line}" for line in lines), ""])


def _inline(value: Any) -> str:
    """A fact in one line; commands as code."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return f"`{value}`" if str(value).startswith("nfn-optim") else " ".join(str(value).split())
