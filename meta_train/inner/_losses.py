"""The losses of many networks: all at once, or one after another where the code takes only one.

Shape legend: `n` networks, `p` particles.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree

from nfn_optim.native.chain import Chain

from ..support import random_state, seeded
from ..tasks import Batch, Params, stack
from ._chain import chain_of
from ._convolutions import OneAfterAnother
from ._known import known

Loss = Callable[[Params, Batch], Tensor]
"""Of one network on one batch."""

TRIED = 2  # networks of a trial
_DIGITS = 1e-3  # relative; vmap adds in another order


@dataclass(frozen=True)
class Losses:
    """Losses of many networks, from code that is written for one.

    Attributes:
        loss: Loss of one network on one batch.
        carried: Names of what a network carries beside its trained parameters. The loss may change
            it, in place or by functional calls of a module, as batch normalization does.
        is_random: Whether the loss draws random numbers, as dropout does.
        obstacle: Why `torch.func.vmap` cannot compute the networks at once, so that they take
            turns; empty where it can.
        chain: What native code computes the losses by, which can be differentiated once then; None
            where it cannot.
    """

    loss: Loss
    carried: frozenset[str] = frozenset()
    is_random: bool = False
    obstacle: str = ""
    chain: Chain | None = None

    def tried(self, params: Params, batch: Batch) -> Losses:
        """The same, in the way that a trial on two networks finds right.

        What the loss raises for one network is passed on.

        Args:
            params: Networks stacked on a leading axis, `(n, *stored)` by name.
            batch: Stacked likewise, of the first `TRIED` at least.
        """
        few = _pytree.tree_map(lambda tensor: tensor[:TRIED].detach(), (params, batch))
        with seeded(0), torch.enable_grad():
            before = random_state()
            expected = replace(self, obstacle="not yet known", chain=None)._look(*few)
            found = replace(self, is_random=random_state() != before, obstacle="", chain=None)
        try:
            with seeded(0), torch.enable_grad():
                at_once = found._look(*few)
        except Exception as error:  # whatever vmap, or code that vmap runs through, has to say
            return replace(found, obstacle=_first_sentence(error))
        if found.is_random:
            return found
        if not all(map(_are_close, at_once, expected)):
            return replace(found, obstacle="torch.func.vmap computes other numbers")
        native = replace(found, chain=None if self.carried else chain_of(self.loss))
        if native.chain is None:
            return found
        with torch.enable_grad():
            return native if all(map(_are_close, native._look(*few), expected)) else found

    def seed(self, generator: torch.Generator | None) -> int | None:
        """A seed for the random numbers of a call, where the loss draws any."""
        return int(torch.randint(2**62, (), generator=generator)) if self.is_random else None

    def __call__(
        self, params: Params, batch: Batch, seed: int | None = None, *, particles: bool = False
    ) -> tuple[Tensor, Params]:
        """Losses, and what the networks carry afterwards.

        Args:
            params: What is trained and what is carried, `(n, *stored)` by name.
            batch: Stacked likewise.
            seed: From `seed`; each particle draws the same random numbers.
            particles: Whether parameters and what is carried have a leading axis `(p, n, *stored)`;
                all particles see the same batch.

        Returns:
            Losses `(n,)` or `(p, n)`, and what is carried, by name and without history.
        """
        found = self._found(params, batch, back=torch.is_grad_enabled())
        if found is not None:
            return known(*found, params), {}
        return self._computed(params, batch, seed, particles)

    def differentiate(
        self,
        params: Params,
        names: list[str],
        batch: Batch,
        seed: int | None = None,
        *,
        particles: bool = False,
        second_order: bool = False,
    ) -> tuple[Tensor, Params, Params]:
        """Losses, the gradients that there are, and what the networks carry afterwards.

        Networks are independent: the gradient of the sum of their losses is each one's own.

        Main arguments:
            params: As for a call.
            names: Those of what is differentiated.
            batch: As for a call.
            seed: As for a call.

        Other arguments:
            particles: As for a call.
            second_order: Whether losses and gradients are functions of the parameters that can be
                differentiated; without, the losses alone are, once.

        Raises:
            ValueError: If the loss is not one scalar a network.
        """
        found = None if second_order else self._found(params, batch, back=True)
        if found is not None:
            values, of_all = found
            grads = {n: of_all[n] for n in names}
            return known(values, grads, params), grads, {}
        with torch.enable_grad():
            points = {
                n: p if second_order and p.requires_grad else p.detach().requires_grad_()
                for n, p in ((n, params[n]) for n in names)
            }
            values, carried = self._computed({**params, **points}, batch, seed, particles)
            _require_scalars(values, lead=2 if particles else 1)
            leaves = list(points.values())
            by_torch = torch.autograd.grad(
                values.sum(), leaves, create_graph=second_order, allow_unused=True
            )
        grads = {n: g for n, g in zip(names, by_torch, strict=True) if g is not None}
        return values if second_order else known(values.detach(), grads, params), grads, carried

    def _found(self, params: Params, batch: Batch, *, back: bool) -> tuple[Tensor, Params] | None:
        """Losses, and gradients if asked for, where native code finds them."""
        return None if self.chain is None else self.chain.differentiate(params, *batch, back=back)

    def _computed(
        self, params: Params, batch: Batch, seed: int | None, particles: bool
    ) -> tuple[Tensor, Params]:
        """What torch computes."""
        carried = {n: p.detach().clone() for n, p in params.items() if n in self.carried}
        trained = {n: p for n, p in params.items() if n not in self.carried}
        randomness = "different" if self.is_random else "error"
        many = _in_turn(self._one) if self.obstacle else vmap(self._one, randomness=randomness)
        # Other networks have no kernels, and looking out for them takes time.
        has_kernels = _have_kernels(params, lead=2 if particles else 1)
        apart = OneAfterAnother() if has_kernels else nullcontext()

        def of(trained: Params, carried: Params, batch: Batch) -> tuple[Tensor, Params]:
            with _quiet_vmap(), apart, nullcontext() if seed is None else seeded(seed):
                result: tuple[Tensor, Params] = many(trained, carried, batch)
                return result

        if not particles:
            values, after = of(trained, carried, batch)
        elif self.obstacle or self.is_random or has_kernels:
            values, after = _in_turn(lambda t, c: of(t, c, batch))(trained, carried)
        else:
            values, after = vmap(of, in_dims=(0, 0, None))(trained, carried, batch)
        return values, {n: c.detach() for n, c in after.items()}

    def _one(self, trained: Params, carried: Params, batch: Batch) -> tuple[Tensor, Params]:
        params = {**carried, **trained}
        value = self.loss(params, batch)
        return value, {name: params[name] for name in carried}

    def _look(self, params: Params, batch: Batch) -> list[Tensor]:
        """Losses, all gradients in a row, and what is carried afterwards."""
        points = {
            n: p if n in self.carried else p.clone().requires_grad_() for n, p in params.items()
        }
        values, after = self(points, batch)
        leaves = [p for n, p in points.items() if n not in self.carried]
        grads = torch.zeros(0)
        if values.requires_grad:
            total = values.sum()
            found = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
            grads = torch.cat([grad.flatten() for grad in found])
        return [values.detach(), grads, *after.values()]


def _require_scalars(values: Tensor, lead: int) -> None:
    if values.dim() != lead:
        raise ValueError(
            "a task's loss must be one scalar for one network; "
            f"got shape {tuple(values.shape[lead:])}."
        )


def _have_kernels(params: Params, lead: int) -> bool:
    """Whether some parameters, with so many axes of networks, have more axes than a matrix."""
    return any(p.dim() > lead + 2 for p in params.values())


def _in_turn(one: Callable[..., Any]) -> Callable[..., Any]:
    """As `vmap(one)`, computed for one index of the leading axis after another."""

    def at(index: int, tree: Any) -> Any:
        return _pytree.tree_map(lambda tensor: tensor[index], tree)

    def many(*arguments: Any) -> Any:
        count = len(_pytree.tree_leaves(arguments)[0])
        return stack([one(*at(index, arguments)) for index in range(count)])

    return many


@contextmanager
def _quiet_vmap() -> Iterator[None]:
    """Without the warning that an operation runs network by network inside of vmap."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


def _are_close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    size = float(b.nan_to_num().abs().max()) if b.numel() else 0.0
    return torch.allclose(a, b, rtol=_DIGITS, atol=_DIGITS * size, equal_nan=True)


def _first_sentence(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].partition(". ")[0]
