"""Populations made of heads: which renumberings they allow."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from nfn_optim import Heads, NetworkSpec
from nfn_optim.symmetry._permute import permute_params, random_permutations
from nfn_optim.testing import attention_spec

SPEC = attention_spec()


def draw(spec, seed=0):
    return random_permutations(spec, torch.Generator().manual_seed(seed))


def heads_of(permutation, count):
    """Which head each place takes its neurons from, and the neurons' places in it."""
    size = len(permutation) // count
    grouped = permutation.view(count, size)
    assert (grouped // size == grouped[:, :1] // size).all(), "heads are torn apart"
    return grouped[:, 0] // size, grouped % size


def test_heads_move_as_a_whole_and_with_those_of_their_numbering():
    for seed in range(5):
        permutations = draw(SPEC, seed)
        assert set(permutations) == set(SPEC.sizes)
        match, content = (heads_of(permutations[label], 3)[0] for label in ("match", "content"))
        assert torch.equal(match, content)


def test_neurons_move_inside_of_each_head_by_themselves():
    _, inside = heads_of(draw(SPEC)["content"], 3)
    assert all(sorted(order) == list(range(4)) for order in inside.tolist())
    assert len(set(map(tuple, inside.tolist()))) == 3


def test_rigid_heads_keep_their_inside():
    spec = replace(SPEC, heads={"match": Heads(3, "h", is_rigid=True), "content": Heads(3, "h")})
    found = [heads_of(draw(spec, seed)["match"], 3) for seed in range(5)]
    assert all(torch.equal(inside, torch.arange(2).expand(3, 2)) for _, inside in found)
    assert len({tuple(order.tolist()) for order, _ in found}) > 1


def test_runs_of_heads_stay_together():
    """Six queries read three keys: those of one key move with it."""
    heads = {"match": Heads(6, "h", run=2, is_rigid=True), "content": Heads(3, "h", is_rigid=True)}
    permutations = draw(replace(SPEC, heads=heads), 2)
    keys, _ = heads_of(permutations["content"], 3)
    queries, _ = heads_of(permutations["match"], 6)
    assert not torch.equal(keys, torch.arange(3))
    assert torch.equal(queries.view(3, 2), 2 * keys[:, None] + torch.arange(2))


def test_a_pinned_population_holds_the_heads_of_others():
    permutations = draw(replace(SPEC, pinned=["match"]).hnp())
    assert set(permutations) == {"stream", "content"}
    order, inside = heads_of(permutations["content"], 3)
    assert torch.equal(order, torch.arange(3))
    assert not torch.equal(inside, torch.arange(4).expand(3, 4))


def test_heads_may_carry_parameters_of_their_own():
    spec = NetworkSpec(
        {"w": ("content", "in"), "temperature": ("heads",)},
        {"w": (6, 2), "temperature": (3,)},
        heads={"content": Heads(3, "heads")},
    )
    permutations = draw(spec)
    assert torch.equal(heads_of(permutations["content"], 3)[0], permutations["heads"])
    pinned = draw(replace(spec, pinned=["heads"]).hnp())
    assert torch.equal(heads_of(pinned["content"], 3)[0], torch.arange(3))


def attend(params, x):
    """What a network of such a spec computes."""
    x = params["table"][x]  # (b, t, 5)
    both = F.linear(x, params["match"], params["match.bias"]).unflatten(-1, (2, 3, 2))
    q, k = both.permute(2, 0, 3, 1, 4)  # (b, heads, t, 2)
    v = F.linear(x, params["content"]).unflatten(-1, (3, 4)).transpose(1, 2)
    y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
    y = x + F.linear(y.transpose(1, 2).flatten(2), params["back"])
    return y @ params["table"].T


def test_attention_computes_the_same_after_renumbering_heads():
    generator = torch.Generator().manual_seed(0)
    params = {
        n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in SPEC.stored.items()
    }
    x = torch.randint(0, 7, (2, 4), generator=generator)
    expected = attend(params, x)
    for seed in range(3):
        permutations = random_permutations(SPEC.hnp(), torch.Generator().manual_seed(seed))
        moved = attend(permute_params(SPEC, params, permutations), x)
        torch.testing.assert_close(moved, expected)
        other = {**permutations, "match": permutations["match"].roll(1)}
        wrong = attend(permute_params(SPEC, params, other), x)
        assert (wrong - expected).abs().max() > 1e-3, "the oracle can fail"
