"""Forward code as people write it: what is found in it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn


class Forward(nn.Module):
    """A user's module: layers by name, and forward code as a function of module and input."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.code = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.code(self, x)


def conv(a: int, b: int, **kwargs) -> nn.Conv2d:
    return nn.Conv2d(a, b, 3, padding=1, **kwargs)


def lin(a: int, b: int) -> nn.Linear:
    return nn.Linear(a, b)


def residual(m, x):
    x = F.relu(m.a(x))
    x = x + m.c(F.gelu(m.b(x)))
    return m.d(x.flatten(1))


def squeeze_excite(m, x):
    x = m.a(x)
    b, c, _, _ = x.size()
    scale = torch.sigmoid(m.fc(F.adaptive_avg_pool2d(x, 1).view(b, c))).view(b, c, 1, 1)
    return m.d((x * scale).mean((2, 3)))


def channels_last(m, x):
    y = m.norm(m.a(x).permute(0, 2, 3, 1))
    y = m.mlp(y) * m.gain
    return m.d(y.permute(0, 3, 1, 2).mean([-2, -1]))


def two_inputs_of_a_concatenation(m, x):
    return m.d(torch.cat([m.a(x), m.b(x)], dim=1).relu().mean([2, 3]))


def transposed_tokens(m, x):
    x = m.a(x).flatten(2).transpose(1, 2)
    return m.d(m.fc(x).view(x.size(0), -1))


def hand_written_attention(m, x):
    x = m.a(x).flatten(2).transpose(1, 2)
    b, n, c = x.shape
    q, k, v = m.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
    return m.d((x + m.proj(y)).mean(1))


def chunked(m, x):
    a, b = m.a(x).chunk(2, dim=1)
    return m.d((a * torch.sigmoid(b)).mean((2, 3)))


def own_matrix(m, x):
    return m.d(F.relu(x.mean((2, 3)) @ m.matrix + m.shift))


def shared_layer(m, x):
    x = m.a(x).mean((2, 3))
    return m.d(torch.tanh(m.fc(torch.tanh(m.fc(x)))))


def data_dependent(m, x):
    x = m.a(x)
    if x.sum() > 0:
        x = m.mlp[2](torch.sigmoid(m.mlp[0](x.mean((2, 3)))))
    else:
        x = m.mlp(x.mean((2, 3)))
    return m.d(x)


def sorted_neurons(m, x):
    return m.d(m.a(x).mean((2, 3)).sort(-1).values)


def pooled_over_neurons(m, x):
    return m.d(F.avg_pool1d(m.fc(x.mean((2, 3))), 2))


def weighted_by_a_buffer(m, x):
    m.register_buffer("ramp", torch.arange(4.0, dtype=torch.float64), persistent=False)
    return m.d(m.a(x).mean((2, 3)) * m.ramp)


def mlp() -> nn.Sequential:
    return nn.Sequential(lin(4, 7), nn.GELU(), lin(7, 4))


# Forward code, layers, populations that may be renumbered, populations whose order is pinned.
CODE = {
    "residual": (
        residual,
        {"a": conv(3, 4), "b": conv(4, 5), "c": conv(5, 4), "d": lin(64, 2)},
        {"a", "b"},
        set(),
    ),
    "squeeze and excite": (
        squeeze_excite,
        {"a": conv(3, 4), "fc": nn.Sequential(lin(4, 3), nn.ReLU(), lin(3, 4)), "d": lin(4, 2)},
        {"a", "fc.0"},
        set(),
    ),
    "channels last": (
        channels_last,
        {
            "a": conv(3, 4),
            "norm": nn.LayerNorm(4),
            "mlp": mlp(),
            "gain": nn.Parameter(torch.ones(4)),
            "d": lin(4, 2),
        },
        {"a", "mlp.0", "mlp.2"},
        set(),
    ),
    "concatenation": (
        two_inputs_of_a_concatenation,
        {"a": conv(3, 4), "b": conv(3, 5), "d": lin(9, 2)},
        set(),
        {"a", "b", "cat"},
    ),
    "tokens": (
        transposed_tokens,
        {"a": conv(3, 4), "fc": lin(4, 5), "d": lin(5 * 16, 2)},
        {"a", "fc"},
        set(),
    ),
    "attention": (
        hand_written_attention,
        {"a": conv(3, 4), "qkv": lin(4, 12), "proj": lin(4, 4), "d": lin(4, 2)},
        {"a", "qkv"},
        set(),
    ),
    "chunk": (chunked, {"a": conv(3, 8), "d": lin(4, 2)}, {"a"}, set()),
    "own matrix": (
        own_matrix,
        {
            "matrix": nn.Parameter(torch.ones(3, 5)),
            "shift": nn.Parameter(torch.zeros(5)),
            "d": lin(5, 2),
        },
        {"matrix"},
        set(),
    ),
    "layer called twice": (
        shared_layer,
        {"a": conv(3, 4), "fc": lin(4, 4), "d": lin(4, 2)},
        {"a"},
        set(),
    ),
    "control flow": (
        data_dependent,
        {"a": conv(3, 4), "mlp": mlp(), "d": lin(4, 2)},
        {"a", "mlp.0", "mlp.2"},
        set(),
    ),
    "sort": (sorted_neurons, {"a": conv(3, 4), "d": lin(4, 2)}, set(), {"a", "d.in"}),
    "pooled neurons": (
        pooled_over_neurons,
        {"fc": lin(3, 8), "d": lin(4, 2)},
        set(),
        {"fc", "d.in"},
    ),
    "buffer": (weighted_by_a_buffer, {"a": conv(3, 4), "d": lin(4, 2)}, set(), {"a"}),
}


@pytest.mark.parametrize("name", CODE)
def test_forward_code_is_followed_as_far_as_it_is_symmetric(
    name, assert_renumbering_keeps_the_function
):
    code, layers, free, pinned = CODE[name]
    images = torch.randn(2, 3, 4, 4)
    spec = assert_renumbering_keeps_the_function(Forward(code, **layers), images)
    assert set(spec.populations) == free
    assert spec.pinned == pinned
