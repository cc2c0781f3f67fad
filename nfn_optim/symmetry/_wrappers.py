"""Names of parameters inside and outside what is wrapped around modules."""

from __future__ import annotations

# Under these names torch.compile, data parallelism, checkpointing and Lightning's Fabric keep the
# module they wrap.
WRAPPERS = (
    *("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"),
    "_forward_module",
)


def without_wrappers(name: str) -> str:
    """The name that a parameter has where nothing is wrapped around modules."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)
