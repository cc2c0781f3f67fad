"""A twin of a module to trace: forward code may store what it likes there, and changes nothing.

Tracing runs forward code once, with stand-ins for tensors. On the user's module they would stay in
whatever the code stores, in-place operations would change its tensors, and random numbers would be
drawn that a training run was to get.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

_LONG = 1_000  # items from which on a container holds data, whose items are not copied


class Twins:
    """Copies of modules and containers, each made once; tensors are those of the originals.

    Attributes:
        tensors: What both hold.
    """

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self._known: dict[int, tuple[Any, Any]] = {}  # the original lives as long as its id

    def of(self, x: Any) -> Any:
        """The twin of an object; what cannot be copied is its own."""
        if id(x) not in self._known:
            try:
                self._copy(x)
            except Exception:  # whatever the user's class does when it is copied
                self._known[id(x)] = x, x
        return self._known[id(x)][1]

    def _copy(self, x: Any) -> None:
        if isinstance(x, Tensor):
            self.tensors.append(x)
            self._keep(x, x)
        elif isinstance(x, nn.Module):
            vars(self._keep(x, object.__new__(type(x)))).update(
                {name: self.of(value) for name, value in vars(x).items()}
            )
        elif isinstance(x, dict):
            self._fill(x, self._keep(x, copy.copy(x)), list(x))
        elif isinstance(x, (list, deque)):
            self._fill(x, self._keep(x, copy.copy(x)), range(len(x)))
        elif isinstance(x, tuple):
            items = [self.of(item) for item in x]
            same = all(a is b for a, b in zip(items, x, strict=True))
            self._keep(x, x if same else getattr(x, "_make", type(x))(items))
        elif isinstance(x, MethodType):
            self._keep(x, MethodType(x.__func__, self.of(x.__self__)))
        elif isinstance(x, partial):
            self._keep(x, partial(self.of(x.func), *self.of(x.args), **self.of(x.keywords)))
        elif isinstance(x, torch.Generator):
            self._keep(x, x.clone_state())
        elif hasattr(type(x), "__del__"):
            self._keep(x, x)  # a copy would close what the original holds
        elif isinstance(x, set):
            self._keep(x, copy.copy(x))
        elif state := getattr(x, "__dict__", None):
            twin = self._keep(x, copy.copy(x))
            if twin is not x:
                vars(twin).update({name: self.of(value) for name, value in dict(state).items()})
        else:
            self._keep(x, x)

    def _keep(self, x: Any, twin: Any) -> Any:
        self._known[id(x)] = x, twin
        return twin

    def _fill(self, x: Any, twin: Any, keys: Sequence[Any]) -> None:
        """Puts the twins of a container's items into its copy."""
        for key in keys if len(keys) < _LONG else ():
            twin[key] = self.of(x[key])


class Unwritten(TorchDispatchMode):
    """Lets operations in place write to copies of some tensors instead.

    Args:
        tensors: What is not to be written to, nor any view of it.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self._addresses = {_address(tensor) for tensor in tensors} - {0}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Calls the operator."""
        given = args, kwargs or {}
        if func._schema.is_mutable:
            given = _pytree.tree_map_only(Tensor, self._other, given)
        return func(*given[0], **given[1])

    def _other(self, tensor: Tensor) -> Tensor:
        return tensor.clone() if _address(tensor) in self._addresses else tensor


def _address(tensor: Tensor) -> int:
    """Where a tensor's numbers are; 0 for one that has no memory of its own, or no shape yet."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, ValueError):
        return 0


@contextmanager
def attributes_kept(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Puts back what code may give tensors in place of what they had: numbers, gradients, flags.

    And how often they were written to, which nothing was: autograd would refuse to go back through
    a forward pass that the user has made already.
    """
    versions = [
        torch.autograd._unsafe_preserve_version_counter(tensor)
        for tensor in tensors
        if not tensor.is_inference()
    ]
    leaves = [tensor for tensor in tensors if tensor.is_leaf]
    before = [(leaf.data, leaf.grad, leaf.requires_grad) for leaf in leaves]
    try:
        with ExitStack() as stack:
            for version in versions:
                stack.enter_context(version)
            yield
    finally:
        for leaf, (data, grad, requires_grad) in zip(leaves, before, strict=True):
            if _place_of(leaf) != _place_of(data):
                leaf.data = data
            if leaf.grad is not grad:
                leaf.grad = grad
            leaf.requires_grad_(requires_grad)


def _place_of(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.device, tensor.shape, _address(tensor)


@contextmanager
def settings_kept() -> Iterator[None]:
    """Puts back what code may set for all code: whether there are gradients, the default type."""
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Puts the random numbers of torch, Python and numpy back to where they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    state, array_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(array_state)
