"""Tables that are looked up by row, tied heads, and positions that are added to a stream."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nfn_optim import NetworkSpec

ROWS, WIDTH, STEPS = 11, 6, 7


class Tokens(nn.Module):
    """Layers by name, and forward code as a function of module and tokens (batch, steps)."""

    def __init__(self, code):
        super().__init__()
        self.table, self.places = nn.Embedding(ROWS, WIDTH), nn.Embedding(9, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 5), nn.Linear(5, WIDTH)
        self.head, self.wide_head = nn.Linear(WIDTH, 3), nn.Linear(STEPS * WIDTH, 3)
        self.conv = nn.Conv1d(WIDTH, 4, 2)
        self.conv_head = nn.Linear(4, 3)
        self.bag = nn.EmbeddingBag(ROWS, WIDTH, padding_idx=0)
        self.bounded = nn.Embedding(ROWS, WIDTH, padding_idx=0, max_norm=0.5)
        self.numbers = nn.Parameter(torch.randn(ROWS))
        self.matrix = nn.Parameter(torch.randn(ROWS, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, 9, WIDTH))
        self.first = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.queries = nn.Parameter(torch.randn(1, STEPS, WIDTH))
        self.register_buffer("waves", torch.randn(STEPS, WIDTH))
        self.code = code

    def forward(self, x):
        return self.code(self, x)


def mlp(m, x):
    return x + m.down(F.gelu(m.up(x)))


def with_first(m, x):
    x = torch.cat([m.first.expand(x.shape[0], -1, -1), m.table(x)], 1)
    return m.head(mlp(m, x)[:, 0])


# Forward code, and the populations that may be renumbered.
CODE = {
    "mean over steps": (lambda m, x: m.head(m.table(x).mean(1)), {"table"}),
    "function": (lambda m, x: m.head(F.embedding(x, m.matrix)), {"matrix"}),
    "indexed matrix": (lambda m, x: m.head(m.matrix[x]), {"matrix"}),
    "one-hot": (lambda m, x: m.head(F.one_hot(x, ROWS).double() @ m.matrix), {"matrix"}),
    "bag": (lambda m, x: m.head(m.bag(x)), {"bag"}),
    "bounded rows": (lambda m, x: m.head(m.bounded(x)), {"bounded"}),
    "flattened": (lambda m, x: m.wide_head(m.table(x).flatten(1)), {"table"}),
    "convolution": (
        lambda m, x: m.conv_head(m.conv(m.table(x).permute(0, 2, 1)).max(2)[0]),
        {"table", "conv"},
    ),
    "last step": (lambda m, x: m.head(mlp(m, m.table(x))[:, -1]), {"table", "up"}),
    "tied by transposing": (lambda m, x: mlp(m, m.table(x)) @ m.table.weight.T, {"table", "up"}),
    "tied by t()": (lambda m, x: mlp(m, m.table(x)) @ m.table.weight.t(), {"table", "up"}),
    "tied by a function": (
        lambda m, x: F.linear(mlp(m, m.table(x)), m.table.weight),
        {"table", "up"},
    ),
    "tied by an equation": (
        lambda m, x: torch.einsum("btd,vd->btv", m.table(x), m.table.weight),
        {"table"},
    ),
    "cosine head": (
        lambda m, x: F.normalize(m.table(x), dim=-1) @ F.normalize(m.table.weight, dim=1).T,
        {"table"},
    ),
    "nearest center": (
        lambda m, x: m.head(m.table(torch.cdist(m.table(x), m.table.weight).argmin(-1))),
        {"table"},
    ),
    "a number for each": (lambda m, x: m.head(m.table(x) * m.numbers[x][..., None]), {"table"}),
    "positions": (lambda m, x: m.head(mlp(m, m.table(x) + m.queries)), {"table", "up"}),
    "first positions": (
        lambda m, x: m.head(mlp(m, m.table(x) + m.positions[:, : x.shape[1]])),
        {"table", "up"},
    ),
    "embedded positions": (
        lambda m, x: m.head(mlp(m, m.table(x) + m.places(torch.arange(x.shape[1])))),
        {"table", "up"},
    ),
    "positions as a table": (
        lambda m, x: m.head(m.table(x) + m.places.weight[None, : x.shape[1]]),
        {"table"},
    ),
    "fixed positions": (lambda m, x: m.head(m.table(x) + m.waves), set()),
    "first token": (with_first, {"first", "up"}),
    "queries": (
        lambda m, x: m.head(m.queries.repeat(x.shape[0], 1, 1) + m.table(x).mean(1, keepdim=True)),
        {"queries"},
    ),
    "nearest row": (
        lambda m, x: m.head(m.table(F.linear(m.table(x), m.table.weight).argmax(-1))),
        {"table"},
    ),
}


@pytest.mark.parametrize("name", CODE)
def test_tables_and_positions_run_over_the_stream(name, assert_renumbering_keeps_the_function):
    code, free = CODE[name]
    tokens = torch.arange(3 * STEPS).view(3, STEPS) % ROWS
    spec = assert_renumbering_keeps_the_function(Tokens(code), tokens)
    assert set(spec.populations) == free


def test_an_embedding_is_a_table_of_the_network_s_inputs():
    spec = NetworkSpec.from_module(nn.Sequential(nn.Embedding(ROWS, WIDTH), nn.Linear(WIDTH, 2)))
    assert spec.axes["0.weight"] == ("0", "in")
    assert spec.view("0.weight", torch.zeros(ROWS, WIDTH)).shape == (WIDTH, ROWS)
    assert spec.tables == {"0.weight"}
    assert spec.io == {"in", "out"}


def test_a_head_that_is_the_embedding_is_one_parameter(assert_renumbering_keeps_the_function):
    model = nn.Sequential(
        *(nn.Embedding(ROWS, WIDTH), nn.LayerNorm(WIDTH)), nn.Linear(WIDTH, ROWS, bias=False)
    )
    model[2].weight = model[0].weight
    spec = assert_renumbering_keeps_the_function(model, torch.arange(5)[None])
    assert spec.axes["0.weight"] == ("0", "in")
    assert spec.populations == ("0",)


def test_both_ways_of_a_tied_autoencoder_share_one_matrix(assert_renumbering_keeps_the_function):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 5))
            self.hidden, self.out = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(5))

        def forward(self, x):
            return F.linear(F.linear(x, self.weight, self.hidden).tanh(), self.weight.t(), self.out)

    spec = assert_renumbering_keeps_the_function(Tied(), torch.randn(3, 5))
    assert spec.axes["weight"] == (spec.axes["hidden"][0], spec.axes["out"][0])
    assert spec.populations == spec.axes["hidden"]


TWO_TABLES = {
    "products": lambda m, u, v: (m.a(u) * m.b(v)).sum(1) + m.c(u).squeeze(),
    "one neuron": lambda m, u, v: m.a(u)[:, 0] + m.b(v)[:, 1],
    "last neuron apart": lambda m, u, v: (m.a(u)[:, :-1] * m.b(v)[:, :-1]).sum(1) + m.a(u)[:, -1],
    "side by side": lambda m, u, v: m.d(torch.cat([m.a(u), m.b(v)], dim=1)),
    "gate of one neuron": lambda m, u, v: m.e(m.b(v) * m.a(u)[:, :1]),
    "gate of one neuron, indexed": lambda m, u, v: m.e(m.b(v) * m.a(u)[:, 0].unsqueeze(1)),
    "cosine": lambda m, u, v: F.cosine_similarity(m.a(u), m.b(v)),
}


@pytest.mark.parametrize("name", TWO_TABLES)
def test_no_symmetry_is_made_up_where_a_batch_has_no_steps(
    name, assert_renumbering_keeps_the_function
):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Embedding(9, 4), nn.Embedding(8, 4), nn.Embedding(9, 1)
            self.d, self.e = nn.Linear(8, 2), nn.Linear(4, 2)

        def forward(self, u, v):
            return TWO_TABLES[name](self, u, v)

    users, items = torch.arange(5), torch.arange(5) + 2
    assert_renumbering_keeps_the_function(Two(), users, items)
