"""What an optimizer must refuse, with what to do instead."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..rules import narrowed
from ..symmetry import without_wrappers
from ._local import is_sharded
from ._rates import UNITS
from ._shapes import check_slots

Group = dict[str, Any]


def check_module(module: nn.Module) -> None:
    """Refuses models whose parameters are no longer apart.

    Raises:
        TypeError: If a part is wrapped in FullyShardedDataParallel.
    """
    for name, part in module.named_modules():
        if type(part).__name__ == "FullyShardedDataParallel":
            raise TypeError(
                f"submodule {name or 'the model'!r} is sharded by FullyShardedDataParallel. "
                f"{_WHOLE}"
            )


def check_options(group: Group) -> None:
    """Refuses options of values that they cannot have: negative ones, no number, an unknown name.

    Raises:
        ValueError: Naming the option.
    """
    if isinstance(group["lr"], Tensor) and group["lr"].numel() != 1:
        raise ValueError(f"Tensor lr must be 1-element; got shape {tuple(group['lr'].shape)}.")
    for name in ("lr", "weight_decay"):
        if not group[name] >= 0:
            raise ValueError(f"{name} must be a number that is not negative; got {group[name]}.")
    if group["lr_unit"] not in (None, *UNITS):
        raise ValueError(
            f"lr_unit must be {' or '.join(map(repr, UNITS))}, or None to leave it to the rates; "
            f"got {group['lr_unit']!r}."
        )
    steps = group["num_steps"]
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool) or steps < 1):
        raise ValueError(
            f"num_steps must be a positive integer, or None where it is not known; got {steps!r}."
        )


def check_adams(given: Mapping[str, Any], groups: Sequence[Group]) -> None:
    """Refuses unknown options, and warns of those of Adam that have no meaning here.

    Args:
        given: Options that are none of NFNOptimizer's.
        groups: May have such options, too.

    Raises:
        TypeError: Naming the first that Adam has not, either.
    """
    for name in given:
        if name not in (*_ADAMS, *_HERE_ALWAYS):
            raise TypeError(f"NFNOptimizer.__init__() got an unexpected keyword argument {name!r}")
    ignored = [n for n in _ADAMS if any(at.get(n) not in (None, False) for at in (given, *groups))]
    if ignored:
        are = "have no meaning here and are" if len(ignored) > 1 else "has no meaning here and is"
        warnings.warn(f"NFNOptimizer: {', '.join(ignored)} {are} ignored.", stacklevel=3)


def check_parameter(name: str, param: Tensor, capturable: bool = False) -> None:
    """Refuses parameters that no step can be taken on.

    Raises:
        TypeError: Naming the parameter: if it is several in one, as FullyShardedDataParallel makes
            them, or a DTensor of summands or of complex numbers.
    """
    if type(param).__name__ == "FlatParameter" or hasattr(param, "_is_flat_param"):
        raise TypeError(f"parameter {name!r} is a {type(param).__name__}, several in one. {_WHOLE}")
    if is_sharded(param):
        from .sharded import check_shards  # a second to import, which others do not wait for

        check_shards(name, param)
        if capturable:
            raise TypeError(
                f"parameter {name!r} is a DTensor. capturable=True takes whole parameters: on "
                "shards, processes have to agree in every step. Leave capturable out."
            )


def check_saved(
    groups: Sequence[Group],
    state_dict: Mapping[str, Any],
    slots: Callable[[str, Tensor], Mapping[str, Tensor]],
) -> dict[Any, Mapping[str, Tensor]]:
    """Refuses a state that was made with other meta-trained weights, parameters or slots.

    Args:
        groups: The optimizer's own groups.
        state_dict: What is to be loaded.
        slots: Slots such as a parameter has in this optimizer.

    Returns:
        The slots of each parameter, without those that are no longer kept.

    Raises:
        ValueError: Naming the difference.
    """
    state = dict(state_dict["state"])
    for own, saved in zip(groups, state_dict["param_groups"], strict=False):
        if saved.get("rule") != own["rule"]:
            raise ValueError(
                f"this state was made with another rule ({saved.get('rule')}, the optimizer has "
                f"{own['rule']}). Construct it with the same checkpoint: 'small' and "
                "'untrained' were the default before. If it is the same, the state was made by "
                "another version of nfn_optim: start without it."
            )
        names = saved.get("param_names", own["param_names"])
        is_named = not all(name.isdigit() for name in names)  # else by their position alone
        theirs, ours = ([*map(without_wrappers, n)] for n in (names, own["param_names"]))
        if is_named and theirs != ours:
            raise ValueError(
                f"this state belongs to parameters {names}, the optimizer has "
                f"{own['param_names']}. Construct it from the same model."
            )
        named = zip(saved["params"], own["param_names"], own["params"], strict=False)
        for key, name, param in named:
            if not state.get(key):
                continue  # had no gradient; what is frozen may be of integers
            expected = slots(name, param)
            state[key] = found = narrowed(state[key], expected)
            if set(found) != set(expected):
                raise ValueError(
                    f"the state of {name!r} has slots {sorted(found)}, the optimizer needs "
                    f"{sorted(expected)}: it was made by another version. Start without it."
                )
            check_slots(name, found, expected, _ORIGINAL)
    return state


def warn_skipped(count: int) -> None:
    """Warns of the first skipped step; the others are only counted."""
    if count == 1:
        warnings.warn(
            "NFNOptimizer skipped a step because a gradient is not finite or too large to square; "
            "parameters and state are unchanged. Further skips are only counted, in skipped_steps.",
            stacklevel=5,
        )


_HERE_ALWAYS = ("decoupled_weight_decay",)
_ADAMS = ("betas", "eps", "amsgrad", "foreach", "capturable", "differentiable")
_ORIGINAL = (
    "This is the state of another network, or of weights that read less of it; make the optimizer "
    "from the model it belongs to."
)
_WHOLE = (
    "NFNOptimizer reads which matrix an entry is in, so it needs parameters apart. Use fully_shard "
    "of torch.distributed.fsdp instead, or DistributedDataParallel."
)
