"""Attention as people write it: what is found in it, and what may not be made up."""

import math

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import nn

from nfn_optim import Heads

H, D = 4, 4  # heads, neurons of each: as many as tokens, so that no axis is told by its size
C, T = H * D, 4


class Net(nn.Module):
    """Tokens, attention in a residual stream, and a readout."""

    def __init__(self, code):
        super().__init__()
        self.embed, self.head = nn.Linear(3, C), nn.Linear(C, 2)
        self.q, self.k, self.v, self.o = (nn.Linear(C, C) for _ in range(4))
        self.qkv, self.kv = nn.Linear(C, 3 * C), nn.Linear(C, 2 * C)
        self.k1, self.v1 = nn.Linear(C, D), nn.Linear(C, D)  # one head for all queries
        self.k2, self.v2 = nn.Linear(C, 2 * D), nn.Linear(C, 2 * D)  # one for two queries
        self.small, self.gate, self.mix = nn.Linear(D, D), nn.Linear(C, H), nn.Linear(H, H)
        self.norm, self.inner_norm = nn.LayerNorm(C), nn.LayerNorm(D)
        self.of_head = nn.Parameter(torch.ones(H, 1, 1))
        self.each = nn.Parameter(torch.ones(H, 1, D))
        self.shared = nn.Parameter(torch.ones(D))
        self.register_buffer("angles", torch.outer(torch.arange(T), torch.tensor([1.0, 0.1])))
        self.register_buffer("slopes", torch.arange(1.0, H + 1)[:, None, None])
        self.register_buffer("mask", torch.ones(8, 8).tril().view(1, 1, 8, 8))
        self.code = code

    def forward(self, x):
        x = self.embed(x)
        return self.head(x + self.code(self, x))


def heads(z):
    b, t, c = z.shape
    return z.view(b, t, H, c // H).transpose(1, 2)


def back(y):
    b, _, t, _ = y.shape
    return y.transpose(1, 2).reshape(b, t, C)


def three(m, x):
    return heads(m.q(x)), heads(m.k(x)), heads(m.v(x))


def scores(q, k):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))).softmax(-1)


def plain(m, x, change=lambda m, q, k, v: (q, k, v), after=lambda m, y: y):
    q, k, v = change(m, *three(m, x))
    return m.o(back(after(m, scores(q, k) @ v)))


def nano(m, x):
    b, t, c = x.size()
    q, k, v = m.qkv(x).split(C, dim=2)
    k = k.view(b, t, H, c // H).transpose(1, 2)
    q = q.view(b, t, H, c // H).transpose(1, 2)
    v = v.view(b, t, H, c // H).transpose(1, 2)
    a = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
    a = F.softmax(a.masked_fill(m.mask[:, :, :t, :t] == 0, float("-inf")), dim=-1)
    return m.o((a @ v).transpose(1, 2).contiguous().view(b, t, c))


def fused(m, x):
    b, t, c = x.shape
    q, k, v = m.qkv(x).reshape(b, t, 3, H, c // H).permute(2, 0, 3, 1, 4)
    return m.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))


def causal(m, x):
    q, k, v = three(m, x)
    t = x.shape[1]
    mask = torch.triu(torch.full((t, t), float("-inf"), device=x.device), diagonal=1)
    return m.o(back((q @ k.mT + mask).softmax(-1).to(q.dtype) @ v))


def einsums(m, x):
    b, t, _ = x.shape
    q, k, v = (z.view(b, t, H, D) for z in (m.q(x), m.k(x), m.v(x)))
    a = torch.einsum("bihd,bjhd->bhij", q, k).softmax(-1)
    return m.o(torch.einsum("bhij,bjhd->bihd", a, v).reshape(b, t, -1))


def batched(m, x):
    b, t, _ = x.shape
    q, k, v = (heads(z).reshape(b * H, t, D) for z in (m.q(x), m.k(x), m.v(x)))
    y = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(-1), v)
    return m.o(y.view(b, H, t, D).transpose(1, 2).flatten(2))


def spread_shapes(m, x):
    shape = (*x.shape[:-1], H, D)
    q, k, v = (z.view(shape).transpose(-3, -2) for z in (m.q(x), m.k(x), m.v(x)))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(-3, -2)
    return m.o(y.reshape(*x.shape[:-1], -1))


def unflattened(m, x):
    q, k, v = (z.unflatten(-1, (H, -1)).movedim(2, 1) for z in three_flat(m, x))
    return m.o((scores(q, k) @ v).movedim(1, 2).flatten(-2))


def three_flat(m, x):
    _b, _t, _c = x.shape  # tells the number of axes
    return m.q(x), m.k(x), m.v(x)


def keys_and_values(m, x):
    b, t, _ = x.shape
    k, v = m.kv(x).view(b, t, 2, H, D).unbind(2)
    return m.o(back(scores(heads(m.q(x)), k.transpose(1, 2)) @ v.transpose(1, 2)))


def one_head(m, x):
    return m.o((m.q(x) @ m.k(x).mT).softmax(-1) @ m.v(x))


def rotated(m, z):
    x, y = z[..., : z.shape[-1] // 2], z[..., z.shape[-1] // 2 :]
    cos, sin = (torch.cat([f, f], -1) for f in (m.angles.cos(), m.angles.sin()))
    return z * cos + torch.cat((-y, x), dim=-1) * sin


def rotated_pairs(m, z):
    x, y = z[..., ::2], z[..., 1::2]
    cos, sin = m.angles.cos(), m.angles.sin()
    return torch.stack((x * cos - y * sin, x * sin + y * cos), -1).flatten(-2)


def rotated_numbers(m, z):
    turn = torch.polar(torch.ones_like(m.angles), m.angles)
    pairs = torch.view_as_complex(z.reshape(*z.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(3)


def rotary(rotate):
    return lambda m, x: plain(m, x, lambda m, q, k, v: (rotate(m, q), rotate(m, k), v))


def grouped(m, x, spread):
    b, t, _ = x.shape
    k, v = (z.view(b, t, 2, D).transpose(1, 2) for z in (m.k2(x), m.v2(x)))
    return m.o(back(scores(heads(m.q(x)), spread(k)) @ spread(v)))


def expanded(z):
    b, n, t, d = z.shape
    return z[:, :, None].expand(b, n, 2, t, d).reshape(b, n * 2, t, d)


def grouped_by_torch(m, x):
    b, t, _ = x.shape
    k, v = (z.view(b, t, 2, D).transpose(1, 2) for z in (m.k2(x), m.v2(x)))
    return m.o(back(F.scaled_dot_product_attention(heads(m.q(x)), k, v, enable_gqa=True)))


def one_for_all(m, x):
    b, t, _ = x.shape
    k, v = m.k1(x).view(b, t, 1, D), m.v1(x).view(b, t, 1, D)
    return m.o(back(scores(heads(m.q(x)), k.transpose(1, 2)) @ v.transpose(1, 2)))


def gated(m, x):
    q, k, v = three(m, x)
    gate = m.gate(x).sigmoid().transpose(1, 2).unsqueeze(-1)
    return m.o(back(gate * (scores(q, k) @ v)))


def rearranged(m, x):
    q, k, v = (rearrange(z, "b n (h d) -> b h n d", h=H) for z in m.qkv(x).chunk(3, dim=-1))
    return m.o(rearrange(scores(q, k) @ v, "b h n d -> b n (h d)"))


def rearranged_at_once(m, x):
    q, k, v = rearrange(m.qkv(x), "b n (three h d) -> three b h n d", three=3, h=H)
    return m.o(rearrange(scores(q, k) @ v, "b h n d -> b n (h d)"))


# Forward code, and heads of the populations that are found: how many, in runs, whether rigid.
FREE, RIGID = Heads(H, "h"), Heads(H, "h", is_rigid=True)
IN_RUNS, LEADERS = Heads(H, "h", 2, is_rigid=True), Heads(2, "h", is_rigid=True)
FOUND = {
    "separate": (plain, {"q": FREE, "v": FREE}),
    "nanoGPT": (nano, {"qkv": FREE}),
    "fused": (fused, {"qkv": FREE}),
    "causal": (causal, {"q": FREE, "v": FREE}),
    "einsum": (einsums, {"q": FREE, "v": FREE}),
    "bmm": (batched, {"q": FREE, "v": FREE}),
    "spread shapes": (spread_shapes, {"q": FREE, "v": FREE}),
    "unflatten": (unflattened, {"q": FREE, "v": FREE}),
    "keys and values": (keys_and_values, {"kv": FREE}),
    "one head": (one_head, {}),
    "einops": (rearranged, {"qkv": FREE}),
    "einops, at once": (rearranged_at_once, {"qkv": FREE}),
    "rotary, halves": (rotary(rotated), {"q": RIGID, "v": FREE}),
    "rotary keys": (
        lambda m, x: plain(m, x, lambda m, q, k, v: (q, rotated(m, k), v)),
        {"q": RIGID, "v": FREE},
    ),
    "rotary, pairs": (rotary(rotated_pairs), {"q": RIGID, "k": RIGID, "v": FREE}),
    "rotary, complex": (rotary(rotated_numbers), {"q": RIGID, "k": RIGID, "v": FREE}),
    "repeated keys": (
        lambda m, x: grouped(m, x, lambda z: z.repeat_interleave(2, dim=1)),
        {"q": IN_RUNS, "k2": LEADERS, "v2": LEADERS, "o.in": IN_RUNS},
    ),
    "expanded keys": (
        lambda m, x: grouped(m, x, expanded),
        {"q": IN_RUNS, "k2": LEADERS, "v2": LEADERS, "o.in": IN_RUNS},
    ),
    "enable_gqa": (
        grouped_by_torch,
        {"q": IN_RUNS, "k2": LEADERS, "v2": LEADERS, "o.in": IN_RUNS},
    ),
    "a scale for each head": (
        lambda m, x: plain(m, x, lambda m, q, k, v: (q * m.of_head, k, v)),
        {"q": FREE, "v": FREE},
    ),
    "gated heads": (gated, {"q": FREE, "v": FREE}),
    "normalized": (
        lambda m, x: plain(
            m, x, lambda m, q, k, v: (F.normalize(q, dim=-1), F.normalize(k, dim=-1), v)
        ),
        {"q": FREE, "v": FREE},
    ),
    "linear attention": (
        lambda m, x: m.o(back((lambda q, k, v: q @ (k.mT @ v))(*three(m, x)))),
        {"q": FREE, "v": FREE},
    ),
    "attention over channels": (
        lambda m, x: m.o(back((lambda q, k, v: v @ (k.mT @ q).softmax(-2))(*three(m, x)))),
        {"q": FREE, "k": FREE},
    ),
    "values without a way back": (
        lambda m, x: back(scores(*three(m, x)[:2]) @ three(m, x)[2]),
        {"embed": FREE, "q": FREE},
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_heads_are_found(name, assert_renumbering_keeps_the_function):
    code, expected = FOUND[name]
    spec = assert_renumbering_keeps_the_function(Net(code), torch.randn(2, T, 3))
    found = {label: spec.heads[label] for label in spec.populations if label in spec.heads}
    assert "embed" in spec.populations
    assert len({heads.numbering for heads in found.values()}) == bool(expected)
    assert {k: Heads(h.count, "h", h.run, h.is_rigid) for k, h in found.items()} == expected


TRICKY = {
    "einops, wrong order": lambda m, x: m.o(
        rearrange(rearrange(m.v(x), "b n (d h) -> b h n d", h=H), "b h n d -> b n (h d)")
    ),
    "einops, copies": lambda m, x: m.o(repeat(heads(m.v(x))[:, :2], "b h n d -> b n (r h d)", r=2)),
    "einops, tokens": lambda m, x: m.o(rearrange(heads(m.v(x)), "b h n d -> b h (n d)")),
    "no way back": lambda m, x: m.o((scores(*three(m, x)[:2]) @ three(m, x)[2]).reshape(x.shape)),
    "tokens as heads": lambda m, x: m.o(back(m.v(x).view(x.shape[0], H, T, D))),
    "tokens as heads, sizes": lambda m, x: m.o(
        back(m.v(x).view(x.shape[0], H, x.shape[1], D).softmax(1))
    ),
    "mean over heads": lambda m, x: m.o(
        (scores(*three(m, x)[:2]) @ three(m, x)[2]).mean(1).repeat(1, 1, H)
    ),
    "means of heads meet": lambda m, x: m.o(
        (heads(m.q(x)).mean(1) @ heads(m.k(x)).mean(1).mT).softmax(-1) @ m.v(x)
    ),
    "gain of keys": lambda m, x: plain(m, x, lambda m, q, k, v: (q, k * m.shared, v)),
    "sum over each head": lambda m, x: m.o(heads(m.v(x)).sum(-1).mT.repeat(1, 1, D)),
    "first head": lambda m, x: m.o(heads(m.v(x))[:, 0].repeat(1, 1, H)),
    "one group": lambda m, x: m.o(heads(m.v(x)).select(1, 0).repeat(1, 1, H)),
    "some heads": lambda m, x: m.o(
        heads(m.v(x))[:, 1:3].transpose(1, 2).flatten(2).repeat(1, 1, 2)
    ),
    "heads reversed": lambda m, x: plain(m, x, lambda m, q, k, v: (q.flip(1), k, v)),
    "inside reversed": lambda m, x: plain(m, x, lambda m, q, k, v: (q, k.flip(-1), v)),
    "rolled": lambda m, x: plain(m, x, lambda m, q, k, v: (q, k, v.roll(1, -1))),
    "sums inside": lambda m, x: plain(m, x, lambda m, q, k, v: (q, k, v.cumsum(-1))),
    "heads meet heads": lambda m, x: m.o(
        back(torch.einsum("bhid,bgjd->bhgij", *three(m, x)[:2]).mean(2) @ three(m, x)[2])
    ),
    "fused heads meet heads": lambda m, x: m.o(
        back(torch.einsum("bhid,bgid->bhgi", heads(m.v(x)), heads(m.v(x))).transpose(2, 3))
    ),
    "talking heads": lambda m, x: m.o(
        back(m.mix(scores(*three(m, x)[:2]).movedim(1, -1)).movedim(-1, 1) @ three(m, x)[2])
    ),
    "slopes of heads": lambda m, x: m.o(
        back((scores(*three(m, x)[:2]) * m.slopes) @ three(m, x)[2])
    ),
    "gain of all": lambda m, x: plain(m, x, lambda m, q, k, v: (q * m.each, k, v)),
    "gain of each head": lambda m, x: plain(m, x, lambda m, q, k, v: (q * m.shared, k, v)),
    "norm of each head": lambda m, x: plain(m, x, lambda m, q, k, v: (m.inner_norm(q), k, v)),
    "norm of all": lambda m, x: m.o(m.norm(back(scores(*three(m, x)[:2]) @ three(m, x)[2]))),
    "a layer of each head": lambda m, x: plain(m, x, after=lambda m, y: m.small(y)),
    "softmax over heads": lambda m, x: plain(m, x, lambda m, q, k, v: (q.softmax(1), k, v)),
    "largest head": lambda m, x: plain(m, x, lambda m, q, k, v: (q - q.amax(1, True), k, v)),
    "heads in two groups": lambda m, x: m.o(
        m.v(x).view(x.shape[0], T, 2, 2, D).transpose(2, 3).flatten(2)
    ),
    "shuffled": lambda m, x: m.o(m.v(x).view(x.shape[0], T, H, D).transpose(2, 3).flatten(2)),
    "shuffled, fused": lambda m, x: m.o(
        m.qkv(x).view(x.shape[0], T, 3, C).transpose(2, 3).flatten(2)[..., ::3]
    ),
    "heads first in fused": lambda m, x: (lambda q, k, v: m.o(back(scores(q, k) @ v)))(
        *m.qkv(x).view(x.shape[0], T, H, 3 * D).transpose(1, 2).chunk(3, -1)
    ),
    "heads first in fused, apart": lambda m, x: (lambda q, k, v: m.o(back(scores(q, k) @ v)))(
        *m.qkv(x).view(x.shape[0], T, H, 3, D).transpose(1, 2).unbind(3)
    ),
    "other heads": lambda m, x: m.o(
        back(scores(*three(m, x)[:2]) @ three(m, x)[2]).view(x.shape[0], T, 2, 8).flip(2).flatten(2)
    ),
    "two kinds of heads": lambda m, x: m.o(
        heads(m.v(x)).transpose(1, 2).flatten(2) + m.v(x).view(x.shape[0], T, 2, 8).flatten(2)
    ),
    "pieces in turn": lambda m, x: m.o(torch.cat(m.v(x).chunk(H, -1)[::-1], -1)),
    "pieces at once": lambda m, x: m.o(torch.stack(m.v(x).chunk(H, -1), -1).flatten(2)),
    "pieces of pieces": lambda m, x: m.o(
        (lambda a, b: torch.cat([a, b.chunk(2, -1)[0], b.chunk(2, -1)[1]], -1))(
            *m.v(x).chunk(2, -1)
        )
    ),
    "pieces that meet": lambda m, x: m.o(
        (lambda a, b: torch.cat([a * b, a + b], -1))(*m.v(x).chunk(2, -1))
    ),
    "half a piece": lambda m, x: m.o(m.qkv(x).chunk(3, -1)[1][..., :8].repeat(1, 1, 2)),
    "heads as a batch": lambda m, x: m.o(
        m.v(x).view(x.shape[0] * H, T, D).softmax(1).view(x.shape)
    ),
    "one projection for all": lambda m, x: m.o(back(scores(*[heads(m.q(x))] * 2) @ heads(m.q(x)))),
    "queries of the stream": lambda m, x: m.o(
        back(scores(heads(x), heads(m.k(x))) @ heads(m.v(x)))
    ),
    "values of the stream": lambda m, x: back(scores(*three(m, x)[:2]) @ heads(x)),
    "one key for all queries": one_for_all,
    "keys of wrong queries": lambda m, x: grouped(m, x, lambda z: z.repeat(1, 2, 1, 1)),
    "expanded in front": lambda m, x: grouped(
        m, x, lambda z: z[:, None].expand(-1, 2, -1, -1, -1).flatten(1, 2)
    ),
    "outputs of heads": lambda m, x: heads(m.v(x)).transpose(1, 2).flatten(2),
    "matrix of each head": lambda m, x: m.o(
        back(torch.einsum("bhid,hkd->bhik", heads(m.v(x)), m.each.expand(H, D, D)))
    ),
    "windows": lambda m, x: m.o(
        heads(m.v(x.view(-1, 2, C))).transpose(1, 2).flatten(2).view(x.shape)
    ),
    "numbers of heads": lambda m, x: m.o(
        back(heads(m.v(x)) * torch.arange(4.0, dtype=x.dtype)[:, None, None])
    ),
    "numbers inside": lambda m, x: m.o(back(heads(m.v(x)) * torch.arange(4.0, dtype=x.dtype))),
    "squares of pairs": lambda m, x: m.o(
        m.v(x).unflatten(-1, (-1, 2)).square().sum(-1).sqrt().repeat(1, 1, 2)
    ),
    "pooled inside": lambda m, x: m.o(F.avg_pool1d(m.v(x), 2).repeat(1, 1, 2)),
}


def test_learned_queries_are_a_table_of_any_order(assert_renumbering_keeps_the_function):
    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Linear(3, C), nn.Linear(C, 2)
            self.queries = nn.Parameter(torch.ones(5, C))
            self.q, self.k = nn.Linear(C, C), nn.Linear(C, C)

        def forward(self, x):
            b, _, _ = x.shape
            x, y = self.embed(x), self.queries.expand(b, -1, -1)
            y = y + (self.q(y) @ self.k(x).mT).softmax(-1) @ x
            return self.head(y.mean(1))

    spec = assert_renumbering_keeps_the_function(Pool(), torch.randn(2, T, 3))
    assert spec.tables == {"queries"}
    assert spec.axes["queries"] == ("embed", "queries")
    assert {"embed", "queries", "q"} == set(spec.populations)


@pytest.mark.parametrize("name", TRICKY)
def test_no_heads_are_claimed_that_are_not_there(name, assert_renumbering_keeps_the_function):
    torch.manual_seed(0)
    assert_renumbering_keeps_the_function(Net(TRICKY[name]), torch.randn(2, T, 3))


class Guessed(nn.Module):
    """A layer whose output has axes of unknown number, and two layers behind."""

    def __init__(self, code):
        super().__init__()
        self.first, self.other, self.last = nn.Linear(3, 6), nn.Linear(3, 6), nn.Linear(6, 2)
        self.code = code

    def forward(self, x):
        return self.code(self, self.first(x).sigmoid(), self.other(x))


GUESSES = {
    "a step": ((2, 5, 3), lambda m, x, y: m.last(x[:, 0] + y[:, 1]), True),
    "a mean over steps": ((2, 5, 3), lambda m, x, y: m.last((x + y).mean(1)), True),
    "steps that are normalized": (
        *((2, 5, 3), lambda m, x, y: m.last(F.layer_norm((x * y).sum(1), (6,)))),
        True,
    ),
    "a neuron": ((2, 3), lambda m, x, y: m.last(y * x[:, 0].exp().sum()), False),
    "a mean over neurons": ((2, 3), lambda m, x, y: m.last(y * x.mean(1).exp().sum()), False),
}


@pytest.mark.parametrize("name", GUESSES)
def test_axes_are_guessed_where_a_layer_confirms_it(name, assert_renumbering_keeps_the_function):
    shape, code, is_found = GUESSES[name]
    spec = assert_renumbering_keeps_the_function(Guessed(code), torch.randn(shape))
    assert ("first" in spec.populations) == is_found


def test_the_oracle_notices_torn_heads(monkeypatch, assert_renumbering_keeps_the_function):
    monkeypatch.setattr(
        Heads, "permutation", lambda heads, n, runs, g: torch.randperm(n, generator=g)
    )
    with pytest.raises(AssertionError, match="not close"):
        assert_renumbering_keeps_the_function(Net(plain), torch.randn(2, T, 3))
