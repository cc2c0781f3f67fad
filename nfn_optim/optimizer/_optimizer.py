"""The learned rule as a `torch.optim.Optimizer`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..native import step as native_step
from ..rules import NFNRule
from ..symmetry import NetworkSpec
from ._checkpoint import DEFAULT, load_rule, rule_hash
from ._coverage import Coverage, Row, placed_share, warn_mostly_alone
from ._driver import Driver
from ._groups import (
    BETAS,
    OLDER,
    as_groups,
    by_name,
    model_of,
    named_params,
    names_in,
    restore_slots,
    shapes_of,
    update_norm,
    with_gradients,
)
from ._placement import Placement
from ._rates import Unit, default_rate, unit_for, with_rate
from ._validation import (
    Group,
    check_adams,
    check_module,
    check_options,
    check_parameter,
    check_saved,
    warn_skipped,
)
from ._watch import RateWatch

_EITHER = (
    "fused=True asks for steps in native code on a CPU, capturable=True for such as a CUDA graph "
    "records. Give one of them."
)
ParamsLike = nn.Module | Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Group]


class NFNOptimizer(Optimizer):
    """A learned optimizer that replaces `torch.optim.Adam`, with nothing to tune.

    Every step reads the network's weights, gradients and momenta as one weight-space tuple and
    writes all updates at once with an `NFNRule`. Parameters whose place in the network is not
    understood are read alone, by the same rule; `coverage()` says which.
    Steps with gradients that are not finite, or too large to square, are skipped and counted in
    `skipped_steps`.

    Main arguments:
        params: The model (its structure is traced), or parameters, named parameters or parameter
            groups as for any optimizer; without the model, a chain of layers is read off the shapes
            where they leave no doubt.
        lr: Multiplies the learned step; 1.0, which is the default, leaves it as it is. Rates below
            0.05, such as scripts give Adam, are taken as Adam's, of which 1e-3 leaves it as it is.
            Schedulers act on it.

    Other arguments:
        model: The model whose parameters `params` are, where these are in groups: its structure is
            traced, as if it had been given alone.
        checkpoint: A file written by `save_rule`; a name, see `load_rule`: `"default"`,
            `"untrained"` for the hand-designed part alone, or `"small"`; an address on the Hugging
            Face Hub, `"hf://owner/name"`; or a rule in memory, which is used as it is and not
            copied.
        spec: The symmetry, described by hand; nothing is traced then. Parameters without a place in
            it are read alone.
        lr_unit: What rates are: `"relative"`, factors on the learned step, or `"adam"`. None: as
            Adam's if the largest that is given is below 0.05, else relative. What is written later
            is in the same unit.
        weight_decay: Decoupled decay, times `lr` and the rule's `step_size`, as AdamW's at that
            rate.
        maximize: Climb instead of descend.
        num_steps: Steps that the run will take, where that is known: a rule that has learned it
            then slows down towards the end. Never needed. Parameters remember it from their first
            step.
        fused: Whether float32 parameters on a CPU take their step in native code, which is the same
            to rounding and several times faster. It is compiled at the first step on a machine
            (some seconds) and kept. None: where there is a C++ compiler; True: or else raise.
        capturable: Whether steps are such as a CUDA graph records: the host waits for nothing, and
            state stays in its memory. They are torch operations. A rate that is to change in a
            graph has to be a tensor on the device.
        **adams: What else Adam takes, such as `betas`; without a meaning here.

    Raises:
        RuntimeError: If `fused` is True and the native step cannot be compiled.
        ValueError: If `fused` and `capturable` are both True, `lr` or `weight_decay` is negative or
            NaN, `num_steps` is not positive, the checkpoint is no rule, or the spec describes other
            parameters (`SpecError`).
        TypeError: If a parameter is a part of several in one or a summand, or an option is known to
            neither this class nor Adam.

    Warns:
        UserWarning: If all that is trained, or more than half of it, is read alone; if rates are
            taken as Adam's, or are as small and are not, and `lr_unit` does not say; if options
            have no meaning here.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> opt = NFNOptimizer(model)
        >>> model(torch.ones(2, 4)).square().mean().backward()
        >>> opt.step()
    """

    def __init__(
        self,
        params: ParamsLike,
        lr: float | Tensor | None = None,
        *,
        model: nn.Module | None = None,
        checkpoint: str | Path | NFNRule = DEFAULT,
        spec: NetworkSpec | None = None,
        lr_unit: Unit | None = None,
        weight_decay: float = 0.0,
        maximize: bool = False,
        num_steps: int | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        **adams: Any,
    ) -> None:
        if fused and capturable:
            raise ValueError(_EITHER)
        if fused:
            native_step.LIBRARY.load()
        if isinstance(params, nn.Module):
            model, params = params, params.named_parameters()
        elif model is None:
            model = model_of(params)
        if model is not None:
            check_module(model)
        if isinstance(checkpoint, NFNRule):
            rule = checkpoint
        else:
            rule = load_rule(checkpoint).requires_grad_(False)
        defaults: Group = {
            "lr": default_rate(lr, lr_unit, lr_unit),
            "lr_unit": lr_unit,
            "betas": adams.get("betas", BETAS),
            "weight_decay": weight_decay,
            "maximize": maximize,
            "num_steps": num_steps,
            "rule": rule_hash(rule),
        }
        groups, shapes = as_groups(params, names_in(model))
        check_adams(adams, groups)
        for group in groups:
            check_options({**defaults, **group})
        self._is_unit_decided, self._watch = True, RateWatch()
        defaults["lr_unit"] = unit = lr_unit or unit_for(lr, groups)
        defaults["lr"] = default_rate(lr, lr_unit, unit)
        for group in groups:
            group["lr_unit"] = group.get("lr_unit") or unit
        self._driver = Driver(rule, Placement.of(shapes, model, spec), fused, capturable)
        super().__init__(groups, defaults)
        self._is_unit_decided = lr_unit is not None  # else groups that join have a say
        if model is not None and spec is None and self._driver.placement.has_places:
            warn_mostly_alone(self._trained())

    @classmethod
    def reading(cls, model: nn.Module) -> type[NFNOptimizer]:
        """A class of optimizers that know a model, for code that makes an optimizer by itself.

        Such code takes a class and gives it parameters or groups alone. What it gets is an
        `NFNOptimizer` of them, made with `model=model`.

        Args:
            model: The model that the parameters will be of.
        """

        def make(_: type[NFNOptimizer], *args: Any, **options: Any) -> NFNOptimizer:
            return cls(*args, **{"model": model, **options})

        return type(cls.__name__, (cls,), {"__new__": make, "__doc__": cls.__doc__})

    @property
    def rule(self) -> NFNRule:
        """The learned rule."""
        return self._driver.rule

    @property
    def spec(self) -> NetworkSpec:
        """The symmetry that the rule reads: parameters read alone have neurons of their own."""
        return self._driver.placement.spec

    @property
    def skipped_steps(self) -> int:
        """Steps that were not taken, because a gradient was not finite or too large to square."""
        dropped = self._driver.dropped_steps
        return self._driver.skipped_steps + (0 if dropped is None else int(dropped))

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters, as for any optimizer; errors as for the class, and nothing changes then.

        Parameters of the model that the optimizer was made from are read as its spec says. Without
        the model, parameters that do not continue the chain are read alone.
        """
        check_options({**self.defaults, **param_group})
        param_group = with_rate(param_group, self.defaults, self._is_unit_decided)
        group = {**self.defaults, **param_group}
        known = named_params(self.param_groups)
        placement = self._driver.placement
        named = by_name(group["params"], placement.names, known)
        for name, param in named.items():
            check_parameter(name, param, self._driver.capturable)
        whole = {**param_group, "params": list(named.items()), "param_names": list(named)}
        super().add_param_group(whole)
        new = {n: p for n, p in named.items() if not placement.knows(n)}
        if new:
            self._driver.extend(shapes_of(known), shapes_of(new))

    def coverage(self) -> Coverage:
        """Which place every parameter has in the network, and why; printed, it is a table."""
        return self._driver.placement.coverage(shapes_of(named_params(self.param_groups)))

    def _trained(self) -> list[Row]:
        """The rows of the table of what is not frozen."""
        known = named_params(self.param_groups)
        trained = {name: param for name, param in known.items() if param.requires_grad}
        return list(self._driver.placement.rows(shapes_of(trained)))

    def stats(self) -> dict[str, float]:
        """Numbers to log, read when asked for.

        Returns:
            `steps` taken, `skipped_steps` since construction, `placed_share` of the entries that
            are trained, and `update_norm`, the norm of the last update.
        """
        steps = [float(slots["step"]) for slots in self.state.values() if "step" in slots]
        return {
            "steps": max(steps, default=0.0),
            "skipped_steps": float(self.skipped_steps),
            "placed_share": placed_share(self._trained()),
            "update_norm": update_norm(self._driver.norms),
        }

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates all parameters that have a gradient.

        Args:
            closure: Reevaluates the model and returns the loss; called with gradients enabled.

        Returns:
            What the closure returns, None without one.

        Raises:
            RuntimeError: If a gradient is sparse.
            ValueError: If a parameter or its state has changed its shape or device.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        entries = with_gradients(self.param_groups)
        if not entries:
            return loss
        if self._driver.capturable:
            if not torch.compiler.is_compiling():
                self._watch.look(self.param_groups, may_wait=False)
            self._driver.step_on_device(entries, self.state)
        elif self._driver.can_step(entries):
            self._watch.look(self.param_groups)
            self._driver.step(entries, self.state)
        else:
            self._driver.skipped_steps += 1
            warn_skipped(self.skipped_steps)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores `state_dict()`; accumulators of bf16 and fp16 parameters stay float32.

        What wrappers such as `torch.compile` and DistributedDataParallel add to the names of
        parameters does not matter.

        Raises:
            ValueError: If the state belongs to other meta-trained weights, other parameters, or
                parameters of other shapes; then nothing changes.
        """
        final: dict[str, Any] = {}
        names = [group["param_names"] for group in self.param_groups]

        def check(_: Optimizer, given: dict[str, Any]) -> dict[str, Any]:
            state = check_saved(self.param_groups, given, self._driver.expected_slots)
            final.update(given | {"state": state})
            return final

        hook = self.register_load_state_dict_pre_hook(check)  # after those of the user
        try:
            super().load_state_dict(state_dict)
        finally:
            hook.remove()
        for group, own in zip(self.param_groups, names, strict=True):
            group["param_names"] = own
        restore_slots(self.param_groups, self.state, final, self._driver.expected_slots)
        self._watch.is_small_told |= bool(self.state)  # a run may end with small rates

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes what `__getstate__` gave, or what is loaded, which may be of an older version."""
        super().__setstate__(state)
        for group in self.param_groups:
            group.update(OLDER | group)

    def __getstate__(self) -> dict[str, Any]:
        """What torch copies and pickles, and what moves parameters; not hooks and schedulers."""
        own = ("_driver", "_watch", "_is_unit_decided")
        return super().__getstate__() | {name: getattr(self, name) for name in own}
