"""What a step has to know of entries that another process holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..layers.relational import Means, Roles


class Share:
    """Joins what processes know of one network. This one is alone and has all of it."""

    def totals(self, names: Sequence[str], sums: Tensor, norms: Tensor) -> tuple[Tensor, Tensor]:
        """Sums and norms over whole parameters.

        Args:
            names: The parameters.
            sums: Over the entries that are here `(k, *batch, parameters)`; 0 where there are none.
            norms: Likewise.
        """
        return sums, norms

    def means(self, roles: Roles, pooled: Mapping[str, Means], none: Tensor) -> dict[str, Means]:
        """Means of all parameters, from those of the parameters that are here.

        Args:
            roles: Of the network.
            pooled: What is known here.
            none: Zeros `(c, 1)`, as the mean of a neuron of which nothing is known.
        """
        return dict(pooled)


ALONE = Share()
