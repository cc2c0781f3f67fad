"""Which run may go on from what an earlier one left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._config import RunConfig
from ._files import load_resume, resume_path
from ._settings import differences, from_plain

_FREE = ("outer_steps", "save_every", "validation.every")  # may change when a run is resumed


def load_state(path: Path, config: RunConfig, rule: Mapping[str, Any]) -> dict[str, Any]:
    """What the run of `path` left, for a run of these settings to go on from.

    Args:
        path: Of the rule.
        config: Settings of the run that is to go on.
        rule: Configuration of the rule that it trains.

    Raises:
        FileNotFoundError: If there is nothing to resume.
        ValueError: If it was started with other settings, or by a version whose settings or rules
            were others, or has taken more outer steps already.
    """
    state, source = load_resume(path), resume_path(path)
    try:
        saved = from_plain(state["config"])
    except ValueError as error:
        raise ValueError(
            f"{source} was written by a version with other settings: {error} "
            "Start again with another output path, or resume with that version."
        ) from error
    changed = [name for name in differences(saved, config) if name not in _FREE]
    if changed:
        raise ValueError(
            f"{source} was started with other settings: {', '.join(changed)} differ. "
            "Use the same settings, or another output path."
        )
    before = state.get("rule_config", {})
    if others := [name for name in rule if name not in before or before[name] != rule[name]]:
        raise ValueError(
            f"{source} was written by a version whose rule was another: {', '.join(others)} "
            "differ. Start again with another output path, or resume with that version."
        )
    if (done := state["progress"]["step"]) > config.outer_steps:
        raise ValueError(
            f"{source} has taken {done} outer steps already, more than outer_steps "
            f"({config.outer_steps}). Ask for more of them to go on."
        )
    return state
