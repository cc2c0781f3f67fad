"""Methods that run SIRENs run them at the omega that their size fits them with."""

import pytest

from meta_train.suites import SUITES
from meta_train.suites.data import INRSize
from meta_train.suites.networks import Heads, NeuronEditor, ShownImage, SirenPass

SIZES = [
    pytest.param(size, id=f"{suite.name}-{name}")
    for suite in SUITES.values()
    for name, size in suite.sizes.items()
    if isinstance(size, INRSize)
]


@pytest.mark.parametrize("size", SIZES)
def test_places_have_the_omega_of_the_sirens(size: INRSize) -> None:
    methods = [m.of if isinstance(m, Heads) else m for m in size.methods.values()]
    kinds = (NeuronEditor, ShownImage, SirenPass)
    running = [method for method in methods if isinstance(method, kinds)]
    assert all(method.places.omega == size.field.omega for method in running)
