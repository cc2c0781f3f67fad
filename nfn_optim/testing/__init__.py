"""Test tools for anything that acts on weight spaces: specs to test on, and the laws to test.

Public, so that layers written elsewhere can be held to the same laws (docs/guides/nf-layer.md). All
tools raise AssertionError with the worst parameter and its error. What is drawn follows a generator
that is given, or seed 0.
"""

from ._laws import EquivariantMap as EquivariantMap
from ._laws import InvariantMap as InvariantMap
from ._laws import assert_equivariant as assert_equivariant
from ._laws import assert_invariant as assert_invariant
from ._laws import assert_sensitive as assert_sensitive
from ._laws import equivariance_error as equivariance_error
from ._laws import invariance_error as invariance_error
from ._laws import renumbered as renumbered
from ._specs import attention_spec as attention_spec
from ._specs import chain_spec as chain_spec
from ._specs import chain_specs as chain_specs
from ._specs import random_features as random_features
from ._specs import recurrent_spec as recurrent_spec
from ._specs import residual_spec as residual_spec
from ._specs import scattered_spec as scattered_spec

__all__ = [
    "assert_equivariant",
    "assert_invariant",
    "assert_sensitive",
    "chain_spec",
    "chain_specs",
    "equivariance_error",
    "invariance_error",
    "random_features",
    "renumbered",
]
