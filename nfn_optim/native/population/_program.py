"""A network as native code reads it: layers as `layer.h` has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A convolution and what follows it: field by field as `Shape` of `layer.h`.

    A linear layer is one with a kernel as large as its input.
    """

    channels: int
    height: int
    width: int
    kernel_height: int
    kernel_width: int
    stride: int
    padding: int
    out: int
    activation: int
    pooled: int
    weight: int
    bias: int

    @property
    def input(self) -> tuple[int, int, int]:
        """Shape of what it reads."""
        return self.channels, self.height, self.width

    @property
    def result(self) -> tuple[int, int, int]:
        """Shape of what it writes."""
        if self.pooled:
            return self.out, 1, 1
        sides = ((self.height, self.kernel_height), (self.width, self.kernel_width))
        height, width = ((n + 2 * self.padding - k) // self.stride + 1 for n, k in sides)
        return self.out, height, width

    @property
    def end(self) -> int:
        """Where its parameters end, in a row of all of them."""
        size = self.out * self.channels * self.kernel_height * self.kernel_width
        return max(self.weight + size, self.bias + self.out)


@dataclass(frozen=True)
class Program:
    """A network's layers, for native code.

    Attributes:
        layers: One after another.
        shape: Of one input, `(c, h, w)`, `(c, h)` or `(c,)`.
        parameters: How many a network has.
        omega: Frequency factor of its sines.
    """

    layers: tuple[Layer, ...]
    shape: tuple[int, ...]
    parameters: int
    omega: float

    def __post_init__(self) -> None:
        """Native code follows these numbers, so they must lead to nowhere else."""
        shape = (*self.shape, 1, 1)[:3]
        for layer in self.layers:
            assert layer.input == shape
            assert min(layer.result) > 0
            assert layer.end <= self.parameters
            shape = layer.result

    @property
    def out(self) -> int:
        """Number of outputs."""
        return self.layers[-1].out

    @property
    def num_factors(self) -> int:
        """Dropout factors of one sample: one for each channel after each activation."""
        return sum(layer.out for layer in self.layers if layer.activation)
