"""NetworkSpec: a value that describes a symmetry and refuses what it cannot describe."""

import copy
import dataclasses
import os
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings

from nfn_optim import Heads, NetworkSpec
from nfn_optim.symmetry._spec import SpecError
from nfn_optim.testing import attention_spec, chain_spec, chain_specs, recurrent_spec

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


@pytest.mark.parametrize("spec", [attention_spec(), recurrent_spec()], ids=["heads", "self-map"])
def test_heads_maps_and_tables_are_part_of_the_value(spec):
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == spec
    assert spec.hnp().np() == spec
    for change in ({"maps": {}}, {"heads": {}, "maps": {}}):
        assert dataclasses.replace(spec, **change) != spec
        assert hash(dataclasses.replace(spec, **change)) != hash(spec)
    assert spec.subset(spec.names) == spec


def test_a_table_is_told_from_a_matrix():
    assert dataclasses.replace(attention_spec(), tables=()) != attention_spec()


def test_the_order_of_heads_does_not_matter():
    spec = attention_spec()
    assert dataclasses.replace(spec, heads=dict(reversed(spec.heads.items()))) == spec


def test_subset_keeps_what_is_said_of_its_parameters():
    part = attention_spec().subset(["table", "content"])
    assert (dict(part.heads), dict(part.maps)) == ({"content": Heads(3, "heads")}, {})
    assert part.tables == {"table"}
    assert not attention_spec().subset(["content"]).tables


def test_heads_of_a_pinned_population_stay_in_a_subset_without_it():
    spec = dataclasses.replace(attention_spec(), pinned=["match"])
    assert spec.subset(["content", "back"]).hnp().fixed == {"heads"}


def test_repr_shows_heads():
    assert "match: Heads(count=3, numbering='heads'" in repr(attention_spec())


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
        ({"w": ("a",), "v": ("a",)}, {"w": (2,), "v": (3,)}, {}, "'a' has 2 neurons.*'v'.*3"),
        ({"w": ("a",)}, {"w": (2,)}, {"io": ("b",)}, "'b' is .*io.*but labels no axis"),
        ({"w": ("a",)}, {"w": (2,)}, {"stored": {"w": (3,)}}, "cannot be viewed"),
        (
            {"w": ("a",)},
            {"w": (2,)},
            {"heads": {"b": Heads(1, "h")}},
            "'b' has heads but",
        ),
        ({"w": ("a",)}, {"w": (6,)}, {"heads": {"a": Heads(4, "h")}}, "'a' of 6 .*of 4 heads"),
        ({"w": ("a",)}, {"w": (6,)}, {"heads": {"a": Heads(3, "h", run=2)}}, "'a'.*runs of 2"),
        (
            {"w": ("a", "b")},
            {"w": (6, 4)},
            {"heads": {"a": Heads(3, "h"), "b": Heads(2, "h")}},
            "'b' numbers 2 heads as 'h', which are 3",
        ),
        ({"w": ("a",)}, {"w": (2,)}, {"maps": {"w": 0}}, "'w' has separate maps along axis 0"),
        ({"w": ("a",)}, {"w": (2,)}, {"maps": {"w": 1}}, "'w' has separate maps along axis 1"),
        ({"w": ("a",)}, {"w": (2,)}, {"maps": {"v": 0}}, "'v' has separate maps"),
        ({"w": ("a",)}, {"w": (2,)}, {"tables": ["v"]}, "'v' is a table, but no parameter"),
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
