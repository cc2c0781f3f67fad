import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nfn_optim import NetworkSpec, SpecError
from nfn_optim._permute import permute_params, random_permutations
from nfn_optim._trace import read_module


def assert_renumbering_keeps_the_function(model: nn.Module, *shape: int) -> NetworkSpec:
    """The oracle of a trace: it must not claim a symmetry that the network does not have."""
    generator = torch.Generator().manual_seed(0)
    model = model.double().eval()
    for param in model.parameters():
        noise = torch.randn(param.shape, generator=generator, dtype=param.dtype)
        param.data.add_(0.3 * noise)  # gains and biases that differ from neuron to neuron
    inputs = torch.randn(*shape, generator=generator, dtype=torch.float64)
    expected = model(inputs)
    spec = NetworkSpec.from_module(model).hnp()
    permutations = random_permutations(spec, generator)
    permuted = permute_params(spec, dict(model.named_parameters()), permutations)
    model.load_state_dict(permuted, strict=False)
    torch.testing.assert_close(model(inputs), expected)
    return spec


def flat_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(4 * 9, 6, bias=False),
        nn.GELU(),
        nn.Linear(6, 2),
    )


def pooled_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.Tanh(),
        nn.Conv2d(4, 5, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 2),
    )


def test_flatten_boundary_becomes_an_ordered_axis():
    spec = NetworkSpec.from_module(flat_cnn())
    assert spec.axes["0.0.weight"] == ("0.0", "in", None, None)
    assert spec.axes["3.weight"] == ("3", "0.0", None)
    assert spec.shapes["3.weight"] == (6, 4, 9)
    assert spec.stored["3.weight"] == (6, 36)
    assert "3.bias" not in spec.axes
    assert spec.axes["5.bias"] == ("out",)
    assert spec.io == {"in", "out"}


def test_global_pool_has_no_ordered_axis():
    spec = NetworkSpec.from_module(pooled_cnn())
    assert spec.axes["5.weight"] == ("out", "2")
    assert spec.names == ("0.weight", "2.weight", "2.bias", "5.weight", "5.bias")


@pytest.mark.parametrize("make", [flat_cnn, pooled_cnn])
def test_renumbering_hidden_neurons_keeps_the_function(make):
    spec = assert_renumbering_keeps_the_function(make(), 2, 3, 8, 8)
    assert len(spec.populations) == 2


def test_single_layer_and_named_children():
    assert NetworkSpec.from_module(nn.Linear(2, 3)).axes["weight"] == ("out", "in")
    spec = NetworkSpec.from_module(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    assert spec.axes["1.weight"] == ("out", "0")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.ReLU()), "Sequential has no Linear or convolution"),
        (nn.Embedding(3, 2), "'weight' is left out because embeddings have no rule"),
        (nn.LSTM(2, 3), "recurrent layers have no rule"),
    ],
)
def test_a_module_without_a_readable_layer_is_named(model, message):
    with pytest.raises(SpecError, match=message):
        NetworkSpec.from_module(model)


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
        {"a"},
        {"qkv", "proj.in"},
    ),
    "chunk": (chunked, {"a": conv(3, 8), "d": lin(4, 2)}, set(), {"a", "d.in"}),
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
        set(),
        {"a"},
    ),
    "control flow": (
        data_dependent,
        {"a": conv(3, 4), "mlp": mlp(), "d": lin(4, 2)},
        set(),
        {"a", "a.in", "mlp.0", "mlp.0.in", "mlp.2", "mlp.2.in", "d", "d.in"},
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
def test_forward_code_is_followed_as_far_as_it_is_symmetric(name):
    code, layers, free, pinned = CODE[name]
    spec = assert_renumbering_keeps_the_function(Forward(code, **layers), 2, 3, 4, 4)
    assert set(spec.populations) == free
    assert spec.pinned == pinned


def in_a_row(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(conv(3, 6), *layers, nn.Flatten(), nn.LazyLinear(2))


# Layers between a convolution of 6 channels and a Linear, and how many populations stay free.
LAYERS = {
    "batch norm": ([nn.BatchNorm2d(6), nn.ReLU()], 1),
    "instance norm": ([nn.InstanceNorm2d(6, affine=True)], 1),
    "group norm of one group": ([nn.GroupNorm(1, 6)], 1),
    "group norm": ([nn.GroupNorm(3, 6)], 0),
    "layer norm of images": ([nn.LayerNorm([6, 4, 4])], 1),
    "layer norm of columns": ([nn.LayerNorm(4)], 1),
    "prelu": ([nn.PReLU(6)], 1),
    "one slope": ([nn.PReLU()], 1),
    "depthwise": ([conv(6, 6, groups=6), nn.BatchNorm2d(6)], 1),
    "depthwise with two kernels": ([conv(6, 12, groups=6), nn.BatchNorm2d(12), conv(12, 5)], 2),
    "grouped": ([conv(6, 9, groups=3), conv(9, 5)], 1),
    "transposed": ([nn.ConvTranspose2d(6, 5, 2, 2), nn.ReLU()], 2),
    "transposed depthwise": ([nn.ConvTranspose2d(6, 6, 2, 2, groups=6)], 1),
    "transposed grouped": ([nn.ConvTranspose2d(6, 9, 2, groups=3), conv(9, 4)], 1),
    "weight norm": ([nn.utils.parametrizations.weight_norm(conv(6, 5)), conv(5, 4)], 1),
    "shuffled channels": ([nn.ChannelShuffle(2)], 0),
    "pixel shuffle": ([nn.Conv2d(6, 8, 1), nn.PixelShuffle(2)], 1),
    "upsampled": ([nn.Upsample(scale_factor=2), nn.ZeroPad2d(1)], 1),
    "gated": ([nn.GLU(1)], 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_followed_as_far_as_they_are_symmetric(name):
    layers, free = LAYERS[name]
    model = in_a_row(*layers).eval()
    model(torch.ones(1, 3, 4, 4))
    spec = assert_renumbering_keeps_the_function(model, 2, 3, 4, 4)
    assert len(spec.populations) == free


def test_depthwise_kernels_are_vectors_with_taps():
    spec = NetworkSpec.from_module(nn.Sequential(conv(3, 6), conv(6, 6, groups=6)))
    assert spec.axes["1.weight"] == ("out", None, None, None)


def test_transposed_kernels_are_labelled_outputs_first():
    spec = NetworkSpec.from_module(nn.Sequential(nn.ConvTranspose2d(3, 4, 2), conv(4, 2)))
    assert spec.axes["0.weight"] == ("0", "in", None, None)
    assert spec.stored["0.weight"] == (3, 4, 2, 2)
    tensor = torch.randn(5, 3, 4, 2, 2)
    assert spec.view("0.weight", tensor).shape == (5, 4, 3, 2, 2)
    assert torch.equal(spec.unview("0.weight", spec.view("0.weight", tensor)), tensor)


def test_tied_weights_are_one_parameter():
    model = nn.Sequential(lin(4, 6), nn.Tanh(), lin(6, 4), nn.Tanh(), lin(4, 6), lin(6, 2))
    model[4].weight = model[0].weight
    spec = assert_renumbering_keeps_the_function(model, 3, 4)
    assert spec.axes["0.bias"] == spec.axes["4.bias"]
    assert "4.weight" not in spec.axes


def test_layers_that_tie_inputs_to_outputs_are_left_out():
    model = nn.Sequential(lin(4, 6), nn.Tanh(), lin(6, 6), lin(6, 2))
    model[2].weight = nn.Parameter(torch.eye(6))
    reading = read_module(
        Forward(lambda m, x: m.b(m.a(x) + m.h(m.a(x))), a=model[0], h=model[2], b=model[3])
    )
    assert reading.reasons == {"h.weight": "two of its axes run over the same neurons"}


def test_tracing_leaves_the_module_as_it_was():
    class Storing(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = lin(2, 3)
            self.last = None

        def forward(self, x):
            self.last = self.fc(x)
            return self.last

    model = Storing()
    assert NetworkSpec.from_module(model).names == ("fc.weight", "fc.bias")
    assert model.last is None


def test_parts_that_the_forward_pass_does_not_reach_are_read_alone():
    model = Forward(lambda m, x: m.a(x), a=lin(2, 3), unused=mlp())
    spec = NetworkSpec.from_module(model)
    assert spec.axes["unused.0.weight"] == ("unused.0", "unused.0.in")
    assert {"unused.0", "unused.0.in"} <= spec.pinned


def test_a_wrapped_model_is_read_through_its_wrapper():
    model = nn.DataParallel(mlp())
    assert NetworkSpec.from_module(model).axes["module.2.weight"] == ("out", "module.0")
