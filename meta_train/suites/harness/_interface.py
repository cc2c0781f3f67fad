"""What a suite's networks read and write, and the check of a network against it."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ._fit import seeded


@dataclass(frozen=True, eq=False)
class Classifiers:
    """What the networks that are read compute, for methods that run them.

    Attributes:
        modules: Their layers, once for each activation that they may have; all of one spec.
        input_shape: Of an image, `(c, h, w)`.
    """

    modules: tuple[nn.Sequential, ...]
    input_shape: tuple[int, ...]

    @torch.no_grad()
    def num_answers(self) -> int:
        """How many numbers a module outputs for one image."""
        return self.modules[0](torch.zeros(1, *self.input_shape)).numel()


@dataclass(frozen=True)
class Interface:
    """What a suite's networks read and write.

    Attributes:
        spec: The symmetry of the networks that they read.
        out_features: Length of the vector that they write, `(n, out_features)`; None where they
            write features `(n, *axes, out_channels)`.
        auxiliary: How many further numbers a network may write, `(n, out_features + auxiliary)`,
            as predictions of what else is known of the networks that it reads.
        channels: Channels of the features that they read.
        out_channels: Channels of the features that they write.
        several: Whether they may write any number of channels, one for each network that they make.
        classifiers: What the networks that they read compute, where that is known and of use.
    """

    spec: NetworkSpec
    out_features: int | None = None
    channels: int = 1
    out_channels: int = 1
    several: bool = False
    auxiliary: int = 0
    classifiers: Classifiers | None = None

    @property
    def whole(self) -> Interface:
        """The same, with the auxiliary numbers as part of the vector."""
        if self.out_features is None:
            return self
        return replace(self, out_features=self.out_features + self.auxiliary, auxiliary=0)

    def check(self, network: nn.Module, device: torch.device) -> list[Tensor]:
        """Tries a network on two random networks of the spec, in evaluation and training mode.

        Returns:
            What `probe` does.

        Raises:
            ValueError: If it is no module, fails, writes something else than the suite needs, or
                cannot be trained.
        """
        written = self.probe(network, device)
        self._check_training(network, device)
        return written

    def seconds(self, network: nn.Module, device: torch.device, batch_size: int) -> float:
        """Seconds of a forward and a backward pass on random networks; the second one counts."""
        with seeded(0, device):
            for _ in range(2):
                start = time.perf_counter()
                output = network.to(device).train()(self._networks(batch_size, device))
                written = [output] if isinstance(output, Tensor) else list(output.values())
                torch.stack([tensor.float().sum() for tensor in written]).sum().backward()
        return time.perf_counter() - start

    def probe(self, network: nn.Module, device: torch.device) -> list[Tensor]:
        """Tries a network in evaluation mode.

        Returns:
            What it wrote, for a hash of what it computes.

        Raises:
            ValueError: If it is no module, fails, or writes something else than the suite needs.
        """
        if not isinstance(network, nn.Module):
            raise ValueError(
                f"build must return a torch.nn.Module; it returned {type(network).__name__}."
            )
        training, name = network.training, type(network).__name__
        try:
            with torch.no_grad(), self._explain(name):
                output = network.to(device).eval()(self._networks(2, device))
        finally:
            network.train(training)
        tensors = self._tensors(name, output)
        if not all(tensor.isfinite().all() for tensor in tensors):
            raise ValueError(
                f"{name} gives values that are not finite for two random "
                "networks, before any training. Look for a division by zero in it."
            )
        return tensors

    def _check_training(self, network: nn.Module, device: torch.device) -> None:
        """Looks whether gradients reach parameters, in a copy and without drawing numbers."""
        name = type(network).__name__
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise ValueError(
                f"{name} has no trainable parameters. Assign layers and nn.Parameters as "
                "attributes, lists of layers as nn.ModuleList, and leave requires_grad on."
            )
        try:
            twin = copy.deepcopy(network).train()
        except Exception:  # not all that can be trained can be copied
            return
        with seeded(0, device):
            with self._explain(f"{name} in training"):
                output = twin(self._networks(2, device))
            tensors = self._tensors(f"{name} in training", output)
            trained = [tensor.float().sum() for tensor in tensors if tensor.requires_grad]
            with self._explain(f"the gradient of {name}"):
                torch.autograd.backward(trained)
        if all(parameter.grad is None for parameter in twin.parameters()):
            raise ValueError(
                f"no gradient reaches the parameters of {name}. Look for torch.no_grad(), detach() "
                "and .data in its forward."
            )

    def _tensors(self, name: str, output: Any) -> list[Tensor]:
        """Checks that an output is what the suite needs, and returns its tensors."""
        given, wanted = self._describe(output), self
        if self.several and isinstance(output, WeightSpaceFeatures):
            wanted = replace(self, out_channels=max(1, output.channels))
        fitting = dict.fromkeys((wanted._expected(), wanted.whole._expected()))
        if given not in fitting:
            raise ValueError(
                f"{name} gives {given} for two networks of this suite, which needs "
                f"{' or '.join(fitting)}. {self._remedy()}"
            )
        tensors = [output] if isinstance(output, Tensor) else list(output.values())
        for tensor in tensors:
            if not tensor.is_floating_point():
                raise ValueError(
                    f"{name} gives numbers of the type {tensor.dtype}, which cannot be trained. "
                    "Return floating-point numbers, such as logits."
                )
        return tensors

    @contextmanager
    def _explain(self, what: str) -> Iterator[None]:
        """Adds to an error what was tried."""
        try:
            yield
        except Exception as error:
            raise ValueError(
                f"{what} failed on features of two networks of\n{self.spec}\n"
                f"with {self.channels} channels: {type(error).__name__}: {error}"
            ) from error

    def _networks(self, n: int, device: torch.device) -> WeightSpaceFeatures:
        generator = torch.Generator().manual_seed(0)
        tensors = {
            name: torch.randn(n, *shape, self.channels, generator=generator).to(device)
            for name, shape in self.spec.shapes.items()
        }
        return WeightSpaceFeatures(self.spec, tensors)

    def _expected(self) -> str:
        if self.out_features is not None:
            return f"a tensor of the shape {(2, self.out_features)}"
        return f"features of the same network with {self.out_channels} channels"

    def _remedy(self) -> str:
        if self.out_features is not None:
            return f"An InvariantNFN needs HeadConfig(out_features={self.out_features})."
        return f"An EquivariantNFN needs EquivariantConfig(out_channels={self.out_channels})."

    def _describe(self, output: object) -> str:
        if isinstance(output, WeightSpaceFeatures):
            batch = tuple(output.batch_shape)
            same = list(output.spec.shapes.items()) == list(self.spec.shapes.items())
            of = "" if batch == (2,) else f" in a batch of the shape {batch}"
            network = "the same network" if same else "another network"
            return f"features of {network} with {output.channels} channels{of}"
        if isinstance(output, Tensor):
            return f"a tensor of the shape {tuple(output.shape)}"
        return f"a {type(output).__name__}"
