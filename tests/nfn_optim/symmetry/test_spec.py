"""NetworkSpec: a value that describes a symmetry and refuses what it cannot describe."""

import copy
import os
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings

from nfn_optim import NetworkSpec
from nfn_optim.symmetry._spec import SpecError
from nfn_optim.testing import chain_spec, chain_specs

WIDTHS = chain_spec([2, 3, 4], kernels=[(3, 3), ()], biases=[True, False])


def test_groups_differ_in_what_they_hold_fixed():
    assert WIDTHS.np().populations == ("h1", "in", "out")
    assert WIDTHS.hnp().populations == ("h1",)
    assert WIDTHS.hnp().labels("0.weight") == ("h1", None, None, None)
    assert WIDTHS.np().labels("0.weight") == ("h1", "in", None, None)
    assert WIDTHS.hnp().np() == WIDTHS.np() == WIDTHS
    assert WIDTHS.hnp().hnp() is not WIDTHS
    assert WIDTHS.hnp() != WIDTHS.np()
    assert WIDTHS.hnp().same_network(WIDTHS)


def test_names_sizes_and_counts():
    assert WIDTHS.names == ("0.weight", "0.bias", "1.weight")
    assert WIDTHS.weights == ("0.weight", "1.weight")
    assert WIDTHS.vectors == ("0.bias",)
    assert dict(WIDTHS.sizes) == {"h1": 3, "in": 2, "out": 4}
    assert WIDTHS.num_entries == 3 * 2 * 9 + 3 + 4 * 3
    with pytest.raises(TypeError):
        WIDTHS.sizes["h1"] = 5


@given(spec=chain_specs())
@settings(max_examples=20, deadline=None)
def test_specs_are_values(spec):
    twin = NetworkSpec(dict(spec.axes), dict(spec.shapes), io=spec.io)
    assert twin == spec
    assert hash(twin) == hash(spec)
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == spec
    assert spec.hnp().np() == spec
    assert sum(torch.Size(s).numel() for s in spec.shapes.values()) == spec.num_entries


def test_order_of_parameters_matters():
    axes, shapes = dict(WIDTHS.axes), dict(WIDTHS.shapes)
    turned = NetworkSpec(dict(reversed(axes.items())), dict(reversed(shapes.items())), io=WIDTHS.io)
    assert not turned.same_network(WIDTHS)


def test_repr_shows_labels_and_shapes():
    assert "0.weight: ('h1', None, None, None) (3, 2, 3, 3)" in repr(WIDTHS.hnp())


def test_subset_keeps_order_and_group():
    part = WIDTHS.hnp().subset(["1.weight", "0.weight"])
    assert part.names == ("0.weight", "1.weight")
    assert part.fixed == WIDTHS.io


def test_a_flatten_boundary_is_stored_as_a_matrix():
    spec = NetworkSpec(
        {"fc": ("out", "c", None)}, {"fc": (5, 2, 3)}, io=("out",), stored={"fc": (5, 6)}
    )
    stored = torch.arange(2 * 30.0).view(2, 5, 6)
    viewed = spec.view("fc", stored)
    assert viewed.shape == (2, 5, 2, 3)
    assert torch.equal(viewed[:, :, 1], stored[..., 3:])
    assert torch.equal(spec.unview("fc", viewed), stored)


@pytest.mark.parametrize(
    ("axes", "shapes", "options", "message"),
    [
        ({"w": ("a", "b")}, {}, {}, "'w'.*labels or a shape, but not both"),
        ({"w": ("a",)}, {"w": (2, 3)}, {}, r"labels \('a',\) but shape \(2, 3\)"),
        ({"w": ("a", "a")}, {"w": (2, 2)}, {}, "one population on two axes"),
        ({"w": ("a",), "v": ("a",)}, {"w": (2,), "v": (3,)}, {}, "'a' has 2 neurons.*'v'.*3"),
        ({"w": ("a",)}, {"w": (2,)}, {"io": ("b",)}, "'b' is .*io.*but labels no axis"),
        ({"w": ("a",)}, {"w": (2,)}, {"stored": {"w": (3,)}}, "cannot be viewed"),
    ],
)
def test_what_cannot_be_described_is_refused(axes, shapes, options, message):
    with pytest.raises(SpecError, match=message):
        NetworkSpec(axes, shapes, **options)


def test_a_spec_from_another_process_is_found_in_a_table():
    code = (
        "import pickle, sys; from nfn_optim.testing import chain_spec\n"
        "spec = chain_spec([3, 2]); hash(spec); sys.stdout.buffer.write(pickle.dumps(spec))"
    )
    other = {**os.environ, "PYTHONHASHSEED": "17"}
    run = subprocess.run([sys.executable, "-c", code], env=other, capture_output=True, check=True)
    assert pickle.loads(run.stdout) in {chain_spec([3, 2])}
