"""What a suite's networks read and write, and the check of a network against it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures


@dataclass(frozen=True, eq=False)
class Classifiers:
    """What the networks that are read compute, for networks that run them.

    Attributes:
        modules: Their layers, once for each activation that they may have; all of one spec.
        input_shape: Of an image, `(c, h, w)`.
    """

    modules: tuple[nn.Sequential, ...]
    input_shape: tuple[int, ...]

    @torch.no_grad()
    def num_answers(self) -> int:
        """Numbers that all modules answer to one image together."""
        return sum(module(torch.zeros(1, *self.input_shape)).numel() for module in self.modules)


@dataclass(frozen=True)
class Interface:
    """What a suite's networks read and write.

    Attributes:
        spec: The symmetry of the networks that they read.
        out_features: Length of the vector that they write, `(n, out_features)`; None where they
            write features `(n, *axes, out_channels)`.
        auxiliary: How many further numbers a network may write, `(n, out_features + auxiliary)`,
            to learn from what else is known of the networks that it reads.
        channels: Channels of the features that they read.
        out_channels: Channels of the features that they write.
        classifiers: What the networks that they read compute, where that is known and of use.
    """

    spec: NetworkSpec
    out_features: int | None = None
    channels: int = 1
    out_channels: int = 1
    auxiliary: int = 0
    classifiers: Classifiers | None = None

    @property
    def whole(self) -> Interface:
        """The same with the auxiliary numbers among the others, for networks that write all."""
        if self.out_features is None:
            return self
        return replace(self, out_features=self.out_features + self.auxiliary, auxiliary=0)

    def check(self, network: nn.Module, device: torch.device) -> list[torch.Tensor]:
        """Tries a network on two random networks of the spec.

        Returns:
            What it wrote, for a hash of what it computes.

        Raises:
            ValueError: If it is no module, fails, or writes something else than the suite needs.
        """
        if not isinstance(network, nn.Module):
            raise ValueError(
                f"build must return a torch.nn.Module; it returned {type(network).__name__}."
            )
        training = network.training
        try:
            with torch.no_grad():
                output = network.to(device).eval()(self._two_networks(device))
        except Exception as error:
            raise ValueError(
                f"{type(network).__name__} failed on features of two networks of\n{self.spec}\n"
                f"with {self.channels} channels: {type(error).__name__}: {error}"
            ) from error
        finally:
            network.train(training)
        fitting = dict.fromkeys((self._expected(), self.whole._expected()))
        if _describe(output) not in fitting:
            raise ValueError(
                f"{type(network).__name__} gives {_describe(output)} for two networks of this "
                f"suite, which needs {' or '.join(fitting)}. {self._remedy()}"
            )
        tensors = [output] if isinstance(output, torch.Tensor) else list(output.values())
        if not all(tensor.isfinite().all() for tensor in tensors):
            raise ValueError(
                f"{type(network).__name__} gives values that are not finite for two random "
                "networks, before any training. Look for a division by zero in it."
            )
        return tensors

    def _two_networks(self, device: torch.device) -> WeightSpaceFeatures:
        generator = torch.Generator().manual_seed(0)
        tensors = {
            name: torch.randn(2, *shape, self.channels, generator=generator).to(device)
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


def _describe(output: object) -> str:
    if isinstance(output, WeightSpaceFeatures):
        batch = tuple(output.batch_shape)
        of = "" if batch == (2,) else f" in a batch of the shape {batch}"
        return f"features of the same network with {output.channels} channels{of}"
    if isinstance(output, torch.Tensor):
        return f"a tensor of the shape {tuple(output.shape)}"
    return f"a {type(output).__name__}"
