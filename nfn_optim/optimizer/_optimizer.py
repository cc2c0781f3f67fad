"""The learned rule as a `torch.optim.Optimizer`: the only place where parameters are changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..native import step as _native
from ..rules import NFNRule, Params, RuleState, Slots
from ..symmetry import NetworkSpec
from ._checkpoint import DEFAULT, load_rule, rule_hash
from ._coverage import Assignment, Coverage
from ._fallback import NO_SPEC, FallbackRule
from ._groups import (
    all_usable,
    by_name,
    descent_gradient,
    named_params,
    restore_slots,
    shapes_of,
    update_norms,
)
from ._validation import (
    Group,
    check_gradient,
    check_module,
    check_options,
    check_parameter,
    check_saved,
    warn_skipped,
)

ParamsLike = nn.Module | Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Group]

_Rule = TypeVar("_Rule", NFNRule, FallbackRule)

_OWN = (
    *("rule", "fallback", "fused", "skipped_steps"),
    *("_names", "_parts", "_norms", "_assignment", "_building"),
)


class NFNOptimizer(Optimizer):
    """A learned optimizer that replaces `torch.optim.Adam`, with nothing to tune.

    Every step reads the network's weights, gradients and momenta as one weight-space tuple and
    writes all updates at once with an `NFNRule`. What has no place in the network's spec
    (embeddings, attention, custom parameters) is driven by AdamW in the same optimizer;
    `coverage()` says which.
    Steps with gradients that are not finite, or too large to square, are skipped and counted in
    `skipped_steps`.

    Main arguments:
        params: The model (its structure is traced), or parameters, named parameters or parameter
            groups as for any optimizer; without the model, a chain of layers is read off the shapes
            where they leave no doubt.

    Other arguments:
        checkpoint: A file written by `save_rule`, or `"default"` for the weights in this package.
        lr: Multiplies the learned step, and the fallback's rate of 1e-3; 1.0 is as meta-trained.
            Schedulers act on it.
        weight_decay: Decoupled decay, times `lr` and the rule's `step_size`, as AdamW's at that
            rate.
        maximize: Climb instead of descend.
        num_steps: Steps that the run will take, where that is known: the rule then slows down
            towards the end. Never needed. Parameters remember it from their first step.
        fused: Whether float32 parameters on a CPU take their step in native code, which is the same
            to rounding and several times faster. It is compiled at the first step on a machine
            (some seconds) and kept. None: where there is a C++ compiler; True: or else raise.

    Raises:
        RuntimeError: If `fused` is True and the native step cannot be compiled.
        ValueError: If `lr` or `weight_decay` is negative, `num_steps` is not positive, or the
            checkpoint is no rule.
        TypeError: If a parameter is not of a real floating-point type, or is a shard.

    Warns:
        UserWarning: If no structure could be read, so that AdamW drives all parameters.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> opt = NFNOptimizer(model)
        >>> model(torch.ones(2, 4)).square().mean().backward()
        >>> opt.step()
    """

    def __init__(
        self,
        params: ParamsLike,
        *,
        checkpoint: str | Path = DEFAULT,
        lr: float = 1.0,
        weight_decay: float = 0.0,
        maximize: bool = False,
        num_steps: int | None = None,
        fused: bool | None = None,
    ) -> None:
        self.fused = fused
        if fused:
            _native.library()
        self.rule: NFNRule = load_rule(checkpoint).requires_grad_(False)
        self.fallback = FallbackRule()
        self.skipped_steps = 0
        self._names: dict[Tensor, str] = {}
        self._parts: dict[tuple[str, ...], NetworkSpec] = {}
        self._norms: dict[str, list[tuple[Tensor, float]]] = {}
        self._assignment = Assignment()
        if isinstance(params, nn.Module):
            check_module(params)
            self._assignment = Assignment.of_module(params)
            self._names = {p: n for n, p in params.named_parameters()}
            params = params.named_parameters()
        defaults: Group = {
            "lr": lr,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "num_steps": num_steps,
            "rule": rule_hash(self.rule),
        }
        self._building = True
        super().__init__(params, defaults)
        self._building = False
        if not self._assignment.traced:
            self._assignment.extend({}, shapes_of(named_params(self.param_groups)))

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters, as for any optimizer; errors as for the class, and nothing changes then.

        Parameters of the model that the optimizer was made from are driven as its spec says.
        Without the model, parameters that do not continue the chain are driven by AdamW.
        """
        group = {**self.defaults, **param_group}
        check_options(group)
        known = named_params(self.param_groups)
        named = by_name(group["params"], self._names, known)
        for name, param in named.items():
            check_parameter(name, param)
        super().add_param_group({**param_group, "params": list(named.items())})
        new = {n: p for n, p in named.items() if p not in self._names}
        if new and not self._building:
            self._assignment.extend(shapes_of(known), shapes_of(new))
            self._parts.clear()
        self._names.update({p: n for n, p in named.items()})

    def coverage(self) -> Coverage:
        """Which parameters the NFN drives, which the fallback, and why; printed, it is a table."""
        return self._assignment.coverage(shapes_of(named_params(self.param_groups)))

    def stats(self) -> dict[str, float]:
        """Numbers to log, read when asked for.

        Returns:
            `steps` taken, `skipped_steps` since construction, `nfn_share` of all entries, and the
            norm of the last update: `update_norm`, `update_norm_nfn`, `update_norm_fallback`.
        """
        steps = [float(slots["step"]) for slots in self.state.values() if "step" in slots]
        return {
            "steps": max(steps, default=0.0),
            "skipped_steps": float(self.skipped_steps),
            "nfn_share": self.coverage().share,
            **update_norms(self._norms),
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
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        named = named_params(self.param_groups)
        live = {n: p for n, p in named.items() if p.grad is not None and p.numel()}
        for name, param in live.items():
            check_gradient(name, param)
        if not live:
            return loss
        if all_usable([p.grad for p in live.values() if p.grad is not None]):
            self._norms = {}
            for device in {p.device for p in live.values()}:
                self._update({n: p for n, p in live.items() if p.device == device}, device)
        else:
            self.skipped_steps += 1
            warn_skipped(self.skipped_steps)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores `state_dict()`; accumulators of bf16 and fp16 parameters stay float32.

        Raises:
            ValueError: If the state belongs to other meta-trained weights or other parameters; then
                nothing changes.
        """
        final: dict[str, Any] = {}

        def check(_: Optimizer, given: dict[str, Any]) -> None:
            check_saved(self.param_groups, given, self._slot_names)
            final.update(given)

        hook = self.register_load_state_dict_pre_hook(check)  # after those of the user
        try:
            super().load_state_dict(state_dict)
        finally:
            hook.remove()
        restore_slots(self.param_groups, self.state, final["state"])

    def __getstate__(self) -> dict[str, Any]:
        """What torch copies and pickles, and what belongs to the rule; not hooks and schedulers."""
        return super().__getstate__() | {name: self.__dict__[name] for name in _OWN}

    def _update(self, params: dict[str, Tensor], device: torch.device) -> None:
        covered = {n: p for n, p in params.items() if self._assignment.covers(n)}
        others = {n: p for n, p in params.items() if n not in covered}
        if covered:
            self._apply("nfn", _placed(self.rule, device), covered, self._part(tuple(covered)))
        if others:
            self._apply("fallback", _placed(self.fallback, device), others, NO_SPEC)

    def _apply(
        self,
        driver: str,
        rule: NFNRule | FallbackRule,
        params: dict[str, Tensor],
        spec: NetworkSpec,
    ) -> None:
        groups = {p: group for group in self.param_groups for p in group["params"]}
        for param in params.values():
            if not self.state[param]:
                steps = groups[param]["num_steps"]
                self.state[param].update(rule.new_slots(param, num_steps=steps))
        grads = {n: descent_gradient(p, groups[p]["maximize"]) for n, p in params.items()}
        slots = {n: dict(self.state[p]) for n, p in params.items()}
        rates = [_rates(groups[p], rule.step_size) for p in params.values()]
        if isinstance(rule, NFNRule) and self._is_fused(rule, params, slots):
            norms: Sequence[Tensor] = _native.step(rule, params, grads, slots, spec, rates)
        else:
            delta, state = rule(params, grads, RuleState(slots, spec))
            norms = torch._foreach_norm(list(delta.values()))
            for (name, param), (lr, keep) in zip(params.items(), rates, strict=True):
                self.state[param].update(state.slots[name])
                if keep != 1:
                    param.mul_(keep)
                param.add_(delta[name], alpha=lr)
        lrs = (lr for lr, _ in rates)
        self._norms.setdefault(driver, []).extend(zip(norms, lrs, strict=True))

    def _is_fused(self, rule: NFNRule, params: Params, slots: Slots) -> bool:
        """Whether the native step is wanted, possible, and, if not asked for, to be had."""
        if self.fused is False or not _native.fits(rule, params, slots):
            return False
        return self.fused or _native.can_build()

    def _part(self, names: tuple[str, ...]) -> NetworkSpec:
        """The spec of the parameters at hand; gradients may be missing, layers may be elsewhere."""
        spec = self._assignment.spec
        assert spec is not None
        if names not in self._parts:
            self._parts[names] = spec.subset(names)
        return self._parts[names]

    def _slot_names(self, name: str) -> frozenset[str]:
        rule = self.rule if self._assignment.covers(name) else self.fallback
        return frozenset(rule.init_slots(torch.zeros(1), 0))


def _rates(group: Group, step_size: float) -> tuple[float, float]:
    """What a group multiplies updates and parameters by."""
    return group["lr"], 1 - group["lr"] * step_size * group["weight_decay"]


def _placed(rule: _Rule, device: torch.device) -> _Rule:
    """As `rule.to(device)`, which takes a while even where nothing is to be moved."""
    first = next(chain(rule.parameters(), rule.buffers()), None)
    return rule if first is None or first.device == device else rule.to(device)
