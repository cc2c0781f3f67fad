"""What is known of one population of neurons."""

from __future__ import annotations

from dataclasses import dataclass

Node = int


@dataclass
class Split:
    """Equal groups that a population is made of: heads, or maps side by side; None: undecided.

    Attributes:
        count: Number of groups.
        heads: The population of groups, where they are renumbered as a whole.
        each: The neurons of every group, where groups are maps whose neurons are the same.
        is_rigid: Whether neurons keep their order inside of a head.
    """

    count: int
    heads: Node | None = None
    each: Node | None = None
    is_rigid: bool = False


@dataclass
class Flags:
    """What is known of one population."""

    name: str
    size: int
    pinned: bool = False
    is_input: bool = False
    is_output: bool = False
    are_heads: bool = False
    is_side: bool = False
    leaders: Node | None = None  # heads that these go along with, in runs
    split: Split | None = None
