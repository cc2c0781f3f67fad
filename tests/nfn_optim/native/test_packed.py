"""Native passes over packed networks are the operations of torch that they stand for."""

import pickle
from itertools import pairwise
from math import prod

import pytest
import torch

from nfn_optim import NetworkSpec
from nfn_optim.layers import Pack
from nfn_optim.native.packed import Entries
from nfn_optim.testing import chain_spec
from packed_networks import ALL, KINDS

pytestmark = pytest.mark.usefixtures("native_packed")

SPECS = {
    **KINDS,
    "long rows": [chain_spec([2, 40, 150, 3, 1])],
    "short kernels": [chain_spec([2, 3, 2], [(1, 5), (1, 1)])],
    "no weights": [NetworkSpec({"gain": ("n",), "scale": ()}, {"gain": (3,), "scale": ()})],
}
WIDTHS = [(1, 1), (1, 16), (8, 8), (16, 1), (16, 16), (17, 33), (40, 3)]  # in, out


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(prod(shape)))


def slots_of(entries: Entries) -> list[list[int]]:
    """The slots of each entry, run by run."""
    found = []
    for count, *run in entries.runs.tolist():
        pairs = [(slot, step) for slot, step in zip(run[:3], run[3:], strict=True) if slot >= 0]
        found += [[slot + e * step for slot, step in pairs] for e in range(count)]
    return found


def incidence(entries: Entries) -> torch.Tensor:
    """`(entries, slots)`, ones where an entry belongs to a slot."""
    slots = slots_of(entries)
    matrix = torch.zeros(len(slots), entries.num_slots)
    for row, own in zip(matrix, slots, strict=True):
        row[own] = 1
    return matrix


@pytest.fixture(params=SPECS.values(), ids=SPECS)
def pack(request) -> Pack:
    return Pack.of(request.param)


def test_runs_have_the_slots_of_links(pack):
    bags = pack.whole.slots.back
    ends, rows = bags.ends.tolist(), bags.rows.tolist()
    expected = [rows[begin:end] for begin, end in pairwise(ends)]
    assert [sorted(own) for own in slots_of(pack.entries)] == [sorted(own) for own in expected]
    assert pack.entries.num_slots == len(pack.whole.slots.there.ends) - 1
    shares = pack.whole.slots.there.shares
    torch.testing.assert_close(pack.shares, shares.float())


@pytest.mark.parametrize(("ins", "outs"), WIDTHS)
def test_sums_and_products_are_those_of_torch(pack, ins, outs):
    entries, belongs = pack.entries, incidence(pack.entries)
    first = entries.sizes[0][0]
    x, g = draw(len(belongs), ins), draw(len(belongs), outs)
    weight, vector, terms = draw(ins, outs), draw(ins, outs) + 1, draw(entries.num_slots, outs)
    close = torch.testing.assert_close
    close(entries.sum([x]), belongs.t() @ x, rtol=1e-4, atol=1e-4)
    mapped = torch.cat([x[:first] @ weight, x[first:] @ vector]) + belongs @ terms
    close(entries.map([x], weight, vector, terms)[0], mapped, rtol=1e-4, atol=1e-4)
    expected = belongs.t() @ g, g[:first].t() @ x[:first], g[first:].t() @ x[first:]
    for ours, theirs in zip(entries.map_back([g], [x]), expected, strict=True):
        close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_large_results_are_written_as_small_ones():
    """They go past the cache, from wherever a row of cache lines begins."""
    entries = Pack.of([chain_spec([500, 301, 211])]).entries
    x, weight, terms = draw(sum(entries.sizes[0]), 5), draw(5, 5), draw(entries.num_slots, 5)
    whole = torch.zeros(x.numel() + 1)
    moved = whole[1:].view_as(x).copy_(x)
    assert x.nbytes > 1 << 21
    expected = entries.map([x], weight, weight, terms * 0)[0]
    torch.testing.assert_close(expected, x @ weight, rtol=1e-5, atol=1e-5)
    assert torch.equal(entries.map([moved], weight, weight, terms * 0)[0], expected)


def test_what_is_no_number_stays_with_its_network(pack):
    entries = pack.entries
    x, terms = draw(sum(entries.sizes[0]), 3), torch.zeros(entries.num_slots, 3)
    x[0, 1] = torch.nan
    found = entries.map([x], torch.ones(3, 3), torch.ones(3, 3), terms)[0]
    assert found[0].isnan().all()
    assert not found[1:].isnan().any()
    sums = entries.sum([x])
    assert sums[slots_of(entries)[0], 1].isnan().all()
    assert not sums[:, [0, 2]].isnan().any()


def test_threads_give_the_same(monkeypatch):
    monkeypatch.setattr("nfn_optim.layers.relational._pack._ENTRIES", 40)
    entries = Pack.of([*ALL, ALL[0]]).entries
    tables = [draw(sum(size), 6) for size in entries.sizes]
    assert len(tables) > 4
    terms, weight = draw(entries.num_slots, 6), draw(6, 6)

    def run() -> list[torch.Tensor]:
        made = entries.map(tables, weight, weight + 1, terms)
        return [entries.sum(tables), *made, *entries.map_back(made, tables)]

    single = run()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert all(map(torch.equal, run(), single))
    finally:
        torch.set_num_threads(threads)


def test_packs_are_pickled_with_what_native_code_knows(pack):
    entries = pack.entries
    x = draw(sum(entries.sizes[0]), 2)
    expected = entries.sum([x])
    assert torch.equal(pickle.loads(pickle.dumps(entries)).sum([x]), expected)
