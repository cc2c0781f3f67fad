"""The learned rule as a `torch.optim.Optimizer`: the only place where parameters are changed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ._chain import infer_chain
from ._checkpoint import DEFAULT, load_rule, rule_hash
from ._spec import NetworkSpec
from .rules import NFNRule, RuleState

Group = dict[str, Any]
ParamsLike = nn.Module | Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Group]


class NFNOptimizer(Optimizer):
    """A learned optimizer that replaces `torch.optim.Adam`, with nothing to tune.

    Every step reads the network's weights, gradients and momenta as one weight-space tuple and
    writes all updates at once with an `NFNRule`. Steps with non-finite gradients are skipped and
    counted in `skipped_steps`.

    Main arguments:
        params: The model (its structure is traced), or parameters, named parameters or parameter
            groups as for any optimizer; without the model, a chain of layers is read off the shapes.

    Other arguments:
        checkpoint: A file written by `save_rule`, or `"default"` for the weights in this package.
        lr: Multiplies the learned step; 1.0 is as meta-trained. Schedulers act on it.
        weight_decay: Decoupled decay, times `lr` and the rule's `step_size`, as AdamW's at that rate.
        maximize: Climb instead of descend.

    Raises:
        SpecError: If the model cannot be traced or the parameters form no chain.
        ValueError: If `lr` or `weight_decay` is negative, or the checkpoint is no rule.
        TypeError: If a parameter is not of a real floating-point type.

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
    ) -> None:
        self.rule: NFNRule = load_rule(checkpoint).requires_grad_(False)
        self.skipped_steps = 0
        self._names: dict[Tensor, str] = {}
        self._spec: NetworkSpec | None = None
        self._parts: dict[tuple[str, ...], NetworkSpec] = {}
        if isinstance(params, nn.Module):
            self._spec = NetworkSpec.from_module(params)
            self._names = {p: n for n, p in params.named_parameters()}
            params = params.named_parameters()
        self._traced = self._spec is not None
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "rule": rule_hash(self.rule),
        }
        self._building = True
        super().__init__(params, defaults)  # type: ignore[arg-type]
        self._building = False
        if not self._traced:
            self._spec = infer_chain(_shapes(self._named()))

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters, as for any optimizer; errors as for the class, and then nothing changes."""
        group = {**self.defaults, **param_group}
        _check_options(group)
        named = self._name(group["params"])
        for name, param in named.items():
            _check_parameter(name, param)
        if not self._building and not self._traced:
            self._spec = infer_chain(_shapes(self._named() | named))
        super().add_param_group({**param_group, "params": list(named.items())})
        self._names.update({p: n for n, p in named.items()})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
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
        live = {n: p for n, p in self._named().items() if p.grad is not None}
        for name, param in live.items():
            _check_gradient(name, param)
        if not live:
            return loss
        if _all_finite([p.grad for p in live.values() if p.grad is not None]):
            for device in {p.device for p in live.values()}:
                self._update({n: p for n, p in live.items() if p.device == device}, device)
        else:
            self._skip()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores `state_dict()`; accumulators keep their type where parameters are bf16 or fp16.

        Raises:
            ValueError: If the state belongs to other meta-trained weights or other parameters; then
                nothing changes.
        """
        self._check_saved(state_dict)
        super().load_state_dict(state_dict)
        saved, position = state_dict["state"], 0
        for group in self.param_groups:
            for param in group["params"]:
                for key, value in saved.get(position, {}).items():
                    self.state[param][key] = value.to(param.device, copy=True)
                position += 1

    def __getstate__(self) -> dict[str, Any]:
        """What torch copies and pickles, and what belongs to the rule; hooks and schedulers stay behind."""
        own = ("rule", "skipped_steps", "_names", "_spec", "_parts", "_traced", "_building")
        return super().__getstate__() | {name: self.__dict__[name] for name in own}

    def _update(self, params: dict[str, Tensor], device: torch.device) -> None:
        rule, spec = self.rule.to(device), self._part(tuple(params))
        groups = {p: group for group in self.param_groups for p in group["params"]}
        for param in params.values():
            if not self.state[param]:
                self.state[param].update(rule.init_slots(param, 0))
        grads = {n: _gradient(p, groups[p]["maximize"]) for n, p in params.items()}
        slots = {n: dict(self.state[p]) for n, p in params.items()}
        delta, state = rule(params, grads, RuleState(slots, spec))
        for name, param in params.items():
            group = groups[param]
            self.state[param].update(state.slots[name])
            if group["weight_decay"]:
                param.mul_(1 - group["lr"] * rule.step_size * group["weight_decay"])
            param.add_(delta[name] * group["lr"])

    def _part(self, names: tuple[str, ...]) -> NetworkSpec:
        """The spec of the parameters at hand; gradients may be missing, layers may be elsewhere."""
        assert self._spec is not None
        if names not in self._parts:
            self._parts[names] = self._spec.subset(names)
        return self._parts[names]

    def _named(self) -> dict[str, Tensor]:
        return {
            name: param
            for group in self.param_groups
            for name, param in zip(group["param_names"], group["params"], strict=True)
        }

    def _name(self, params: Any) -> dict[str, Tensor]:
        """Parameters of a new group by name; unnamed ones get their position as name."""
        entries = [params] if isinstance(params, Tensor) else list(params)
        first = sum(len(group["params"]) for group in self.param_groups)
        named: dict[str, Tensor] = {}
        for position, entry in enumerate(entries, start=first):
            name, param = entry if isinstance(entry, tuple) else (None, entry)
            if not isinstance(param, Tensor):
                raise TypeError(f"NFNOptimizer trains tensors; got {type(param).__name__}.")
            named[self._names.get(param) or name or str(position)] = param
        return named

    def _skip(self) -> None:
        self.skipped_steps += 1
        if self.skipped_steps == 1:
            warnings.warn(
                "NFNOptimizer skipped a step because a gradient is not finite; parameters and state "
                "are unchanged. Further skips are counted in skipped_steps without a warning.",
                stacklevel=5,
            )

    def _check_saved(self, state_dict: Mapping[str, Any]) -> None:
        for own, saved in zip(self.param_groups, state_dict["param_groups"], strict=False):
            if saved.get("rule") != own["rule"]:
                raise ValueError(
                    f"this state was made with meta-trained weights {saved.get('rule')}, the optimizer "
                    f"has {own['rule']}. Construct it with the same checkpoint."
                )
            if saved.get("param_names", own["param_names"]) != own["param_names"]:
                raise ValueError(
                    f"this state belongs to parameters {saved['param_names']}, the optimizer has "
                    f"{own['param_names']}. Construct it from the same model."
                )


def _gradient(param: Tensor, maximize: bool) -> Tensor:
    assert param.grad is not None
    return -param.grad if maximize else param.grad


def _shapes(params: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(param.shape) for name, param in params.items()}


def _all_finite(grads: list[Tensor]) -> bool:
    """One number a gradient, one transfer a device."""
    largest = torch._foreach_norm(grads, float("inf"))
    return all(bool(torch.isfinite(norm)) for norm in largest)


def _check_options(group: Group) -> None:
    for name in ("lr", "weight_decay"):
        if group[name] < 0:
            raise ValueError(f"{name} must not be negative; got {group[name]}.")


def _check_parameter(name: str, param: Tensor) -> None:
    if not param.dtype.is_floating_point:
        raise TypeError(
            f"parameter {name!r} is {param.dtype}; NFNOptimizer trains real floating-point parameters. "
            "Leave it out, or view complex numbers as pairs with torch.view_as_real."
        )


def _check_gradient(name: str, param: Tensor) -> None:
    if param.grad is not None and param.grad.is_sparse:
        raise RuntimeError(
            f"the gradient of {name!r} is sparse, which NFNOptimizer cannot read. Make it dense "
            "(nn.Embedding(..., sparse=False)), or train this parameter with torch.optim.SparseAdam."
        )
