"""Which tensors forward code writes to, so that they are not what they were made as."""

from __future__ import annotations

import operator

from torch import fx

_MADE = ("zeros", "ones", "full", "new_zeros", "new_ones", "new_full")
_IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)


def written(graph: fx.Graph) -> frozenset[fx.Node]:
    """Tensors that code writes to and uses again, and what they are views of."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        x = node.args[0] if _writes(node) and node.args else None
        if isinstance(x, fx.Node) and len(x.users) == 1 and not _is_view(x):
            continue  # what is written is used from here on under its new name
        while isinstance(x, fx.Node) and x not in found:
            found.add(x)
            x = x.args[0] if x.args else None
    return frozenset(found)


def _is_view(node: fx.Node) -> bool:
    """Whether a tensor may be a view of another: it is not, if it was made of sizes."""
    return not str(getattr(node.target, "__name__", node.target)).startswith(_MADE)


def _writes(node: fx.Node) -> bool:
    """Whether an operation is in place."""
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.startswith("__")
    return node.target in _IN_PLACE
