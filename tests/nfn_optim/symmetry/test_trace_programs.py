"""Random programs on heads and tokens, most of them senseless: no symmetry may be made up."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

N = 4  # heads, neurons of a head and tokens alike, so that no axis is told by its size
C, B = N * N, 2


class Program(nn.Module):
    """Steps that each read results of earlier ones."""

    def __init__(self, steps):
        super().__init__()
        self.embed, self.head = nn.Linear(3, C), nn.Linear(C, 2)
        self.one, self.two = nn.Linear(C, C), nn.Linear(C, C)
        self.both, self.three, self.small = (
            nn.Linear(C, 2 * C),
            nn.Linear(C, 3 * C),
            nn.Linear(N, N),
        )
        self.norm, self.inner_norm = nn.LayerNorm(C), nn.LayerNorm(N)
        self.vector, self.matrix = nn.Parameter(torch.ones(N)), nn.Parameter(torch.ones(N, N))
        self.positions = nn.Parameter(torch.ones(1, N, C))
        self.steps = steps

    def forward(self, x):
        x = self.embed(x)
        b, t, _ = x.shape
        values = [x]
        for name, sources, choice in self.steps:
            code = STEPS[name][1]
            values.append(code(self, (b, t, choice), *[values[i] for i in sources]))
        return self.head(values[-1])


def merged(x, b, t, k):
    if k % 3 == 0:
        return x.reshape(b, t, C)
    return x.flatten(2) if k % 3 == 1 else x.reshape(b, t, -1)


# What a step reads and writes: f (b, t, C), q (b, t, N, N), p (b, N, t, N), a (b, N, t, t).
STEPS = {
    "layer": ("f f", lambda m, s, x: (m.one if s[2] % 2 else m.two)(x)),
    "activation": ("f f", lambda m, s, x: F.gelu(x)),
    "sum": ("ff f", lambda m, s, x, y: x + y),
    "gate": ("ff f", lambda m, s, x, y: x * y.sigmoid()),
    "norm": ("f f", lambda m, s, x: m.norm(x)),
    "positions": ("f f", lambda m, s, x: x + m.positions),
    "a chunk": ("f f", lambda m, s, x: m.three(x).chunk(3, -1)[s[2] % 3]),
    "a split": ("f f", lambda m, s, x: m.three(x).split(C, dim=2)[s[2] % 3]),
    "glu": ("f f", lambda m, s, x: F.glu(m.both(x), -1)),
    "a map": ("f f", lambda m, s, x: m.both(x).view(*s[:2], 2, C)[:, :, s[2] % 2]),
    "over tokens": ("f f", lambda m, s, x: m.small(x.transpose(1, 2)).transpose(1, 2)),
    "two halves": ("f f", lambda m, s, x: x.view(*s[:2], 2, C // 2).flatten(2)),
    "fused": ("f q", lambda m, s, x: m.three(x).view(*s[:2], 3, N, N).unbind(2)[s[2] % 3]),
    "heads first": ("f q", lambda m, s, x: m.three(x).view(*s[:2], N, 3, N)[:, :, :, s[2] % 3]),
    "keys": ("f q", lambda m, s, x: m.both(x).view(*s[:2], 2, N, N)[:, :, s[2] % 2]),
    "split": ("f q", lambda m, s, x: x.view(*s[:2], N, N if s[2] % 2 else -1)),
    "split at once": ("f q", lambda m, s, x: x.unflatten(-1, (N, N))),
    "split again": ("f q", lambda m, s, x: x.view(*s[:2], 2, 2, N).flatten(2, 3)),
    "stacked": ("f q", lambda m, s, x: torch.stack(x.chunk(N, -1), 2 + s[2] % 2)),
    "pairs": ("f q", lambda m, s, x: x.view(*s[:2], N, 2, 2).flatten(-2)),
    "tokens as heads": ("f p", lambda m, s, x: x.view(s[0], N, s[1], N)),
    "turned": ("q p", lambda m, s, x: x.transpose(1, 2)),
    "turned back": ("p q", lambda m, s, x: x.transpose(1, 2)),
    "inside out": ("q q", lambda m, s, x: x.transpose(2, 3)),
    "merged": ("q f", lambda m, s, x: merged(x, *s)),
    "merged unturned": ("p f", lambda m, s, x: x.reshape(*s[:2], C)),
    "scores": ("pp a", lambda m, s, x, y: x @ (y.mT if s[2] % 2 else y.transpose(-2, -1))),
    "scores by name": ("qq a", lambda m, s, x, y: torch.einsum("bihd,bjhd->bhij", x, y)),
    "all scores": ("pp a", lambda m, s, x, y: torch.einsum("bhid,bgjd->bhgij", x, y).mean(1)),
    "channels": ("pp a", lambda m, s, x, y: x.mT @ y),
    "read": ("ap p", lambda m, s, x, y: x @ y),
    "read by name": ("ap p", lambda m, s, x, y: torch.einsum("bhij,bhjd->bhid", x, y)),
    "read by others": ("ap p", lambda m, s, x, y: torch.einsum("bgij,bhjd->bhid", x, y)),
    "attention": ("ppp p", lambda m, s, x, y, z: F.scaled_dot_product_attention(x, y, z)),
    "sum of scores": ("aa a", lambda m, s, x, y: x + y),
    "sum of heads": ("pp p", lambda m, s, x, y: x + y),
    "scores and heads": ("pa p", lambda m, s, x, y: x + y),
    "softmax of scores": ("a a", lambda m, s, x: x.softmax(-1 - s[2] % 3)),
    "softmax": ("p p", lambda m, s, x: x.softmax(-1 - s[2] % 3)),
    "normalized": ("p p", lambda m, s, x: F.normalize(x, dim=-1 - s[2] % 3)),
    "centred": ("p p", lambda m, s, x: x - x.mean(1 + s[2] % 3, keepdim=True)),
    "largest": ("q q", lambda m, s, x: x - x.amax(1 + s[2] % 3, True)),
    "gain of heads": ("p p", lambda m, s, x: x * m.vector.view(N, 1, 1)),
    "gain inside": ("p p", lambda m, s, x: x * m.vector),
    "gain": ("q q", lambda m, s, x: x * m.matrix),
    "gain of scores": ("a a", lambda m, s, x: x * m.vector[:, None, None]),
    "layer inside": ("p p", lambda m, s, x: m.small(x)),
    "layer of scores": ("a a", lambda m, s, x: m.small(x)),
    "norm inside": ("p p", lambda m, s, x: m.inner_norm(x)),
    "rotated": ("p p", lambda m, s, x: torch.cat((-x[..., 2:], x[..., :2]), -1)),
    "one head": ("p p", lambda m, s, x: x[:, s[2] % N, None].expand(s[0], N, s[1], N)),
    "in a batch": ("p p", lambda m, s, x: x.reshape(s[0] * N, s[1], N).softmax(1).view(x.shape)),
    "copies": ("p p", lambda m, s, x: x[:, :2].repeat_interleave(2, 1)),
    "gate of heads": (
        "fp p",
        lambda m, s, x, y: y * m.one(x).view(*s[:2], N, N).mean(-1).mT[..., None],
    ),
}
LAST = {"a": "gain of scores", "p": "turned back", "q": "merged"}


def draw(seed):
    """Some steps, whose results are brought to the shape of tokens at the end."""
    dice, kinds, steps = random.Random(seed), ["f"], []

    def add(name):
        reads, writes = STEPS[name][0].split()
        sources = [dice.choice([i for i, k in enumerate(kinds) if k == r][-3:]) for r in reads]
        steps.append((name, sources, dice.randrange(12)))
        kinds.append(writes)

    for _ in range(dice.randint(4, 12)):
        possible = [n for n, (signature, _) in STEPS.items() if set(signature[:-2]) <= set(kinds)]
        add(dice.choice(possible))
    if kinds[-1] == "a":
        steps.append(("read", [len(kinds) - 1] * 2, 0))
        kinds.append("p")
    while kinds[-1] != "f":
        steps.append((LAST[kinds[-1]], [len(kinds) - 1], dice.randrange(12)))
        kinds.append({"p": "q", "q": "f"}[kinds[-1]])
    return steps


@pytest.mark.parametrize("tens", range(12))
def test_no_symmetry_is_made_up_in_random_programs(tens, assert_renumbering_keeps_the_function):
    free = heads = 0
    for seed in range(10 * tens, 10 * tens + 10):
        torch.manual_seed(seed)
        spec = assert_renumbering_keeps_the_function(Program(draw(seed)), torch.randn(B, N, 3))
        free, heads = free + len(spec.populations), heads + len(spec.heads)
    assert free > 0
    assert heads > 0
