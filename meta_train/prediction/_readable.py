"""Which networks a reader can read."""

from __future__ import annotations

from nfn_optim import NetworkSpec, SpecError
from nfn_optim.layers import Pack

from ..zoo import Collection


def readable(collection: Collection, skip_bad: bool) -> Collection:
    """The networks that layers shared by relation can read.

    Raises:
        ValueError: Naming the others, unless they are left out; and if none is left.
    """
    reasons: dict[NetworkSpec, str] = {}
    for features in collection.networks.parts:
        try:
            Pack.of([features.spec])
        except SpecError as error:
            cause = error.__cause__ or error
            reasons[features.spec] = f"cannot be read: {str(cause).rstrip('.')}"
    specs = zip(collection.names, collection.networks.specs, strict=True)
    return collection.without({n: reasons[spec] for n, spec in specs if spec in reasons}, skip_bad)
