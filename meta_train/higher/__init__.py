"""The same unroll through `higher`: a bridge and a reference."""

from ._register import register_higher as register_higher
