"""How the site reads docstrings that divide arguments in main ones and others."""

from __future__ import annotations

from typing import Any

import griffe


class MainArguments(griffe.Extension):
    """Main arguments are the arguments; griffe knows other arguments by itself."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Renames the section before it is parsed."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("Main arguments:\n", "Args:\n")
