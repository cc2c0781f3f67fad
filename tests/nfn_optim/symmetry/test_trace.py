import pytest
import torch
from torch import nn

from nfn_optim import NetworkSpec, SpecError


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
def test_renumbering_hidden_neurons_keeps_the_function(make, assert_renumbering_keeps_the_function):
    spec = assert_renumbering_keeps_the_function(make(), torch.randn(2, 3, 8, 8))
    assert len(spec.populations) == 2


def test_single_layer_and_named_children():
    assert NetworkSpec.from_module(nn.Linear(2, 3)).axes["weight"] == ("out", "in")
    spec = NetworkSpec.from_module(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    assert spec.axes["1.weight"] == ("out", "0")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.ReLU()), "Sequential has no parameters"),
        (nn.LazyLinear(2), "'weight' is left out because it has no shape yet"),
    ],
)
def test_a_module_without_parameters_to_read_is_named(model, message):
    with pytest.raises(SpecError, match=message):
        NetworkSpec.from_module(model)


def conv(a: int, b: int, **kwargs) -> nn.Conv2d:
    return nn.Conv2d(a, b, 3, padding=1, **kwargs)


def lin(a: int, b: int) -> nn.Linear:
    return nn.Linear(a, b)


def mlp() -> nn.Sequential:
    return nn.Sequential(lin(4, 7), nn.GELU(), lin(7, 4))


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
    "weight norm": ([nn.utils.parametrizations.weight_norm(conv(6, 5)), conv(5, 4)], 3),
    "shuffled channels": ([nn.ChannelShuffle(2)], 0),
    "pixel shuffle": ([nn.Conv2d(6, 8, 1), nn.PixelShuffle(2)], 1),
    "upsampled": ([nn.Upsample(scale_factor=2), nn.ZeroPad2d(1)], 1),
    "gated": ([nn.GLU(1)], 1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_followed_as_far_as_they_are_symmetric(
    name, assert_renumbering_keeps_the_function
):
    layers, free = LAYERS[name]
    model = in_a_row(*layers).eval()
    model(torch.ones(1, 3, 4, 4))
    spec = assert_renumbering_keeps_the_function(model, torch.randn(2, 3, 4, 4))
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


def test_tied_weights_are_one_parameter(assert_renumbering_keeps_the_function):
    model = nn.Sequential(lin(4, 6), nn.Tanh(), lin(6, 4), nn.Tanh(), lin(4, 6), lin(6, 2))
    model[4].weight = model[0].weight
    spec = assert_renumbering_keeps_the_function(model, torch.randn(3, 4))
    assert spec.axes["0.bias"] == spec.axes["4.bias"]
    assert "4.weight" not in spec.axes


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.h, self.b = lin(4, 6), lin(6, 6), lin(6, 2)

    def forward(self, x):
        return self.b(self.a(x) + self.h(self.a(x)))


@pytest.mark.parametrize(
    ("layer", "matrix"),
    [
        (nn.Conv2d(6, 9, 3, groups=3), lambda weight: weight.view(3, 3, 2 * 9)),
        (
            nn.ConvTranspose2d(6, 9, 2, groups=3),
            lambda weight: weight.view(3, 2, 3, 4).transpose(1, 2).flatten(2),
        ),
    ],
    ids=["convolution", "transposed"],
)
def test_each_group_of_a_convolution_is_a_matrix(layer, matrix):
    spec = NetworkSpec.from_module(nn.Sequential(conv(3, 6), layer))
    matrices = spec.matrices("1.weight")
    found = matrices.view(spec.view("1.weight", layer.weight))
    torch.testing.assert_close(found, matrix(layer.weight), rtol=0, atol=0)


def test_a_layer_from_neurons_to_the_same_neurons_runs_over_them_twice(
    assert_renumbering_keeps_the_function,
):
    spec = assert_renumbering_keeps_the_function(Branches(), torch.randn(3, 4))
    assert spec.axes["h.weight"] == ("a", "a")
    assert "a" in spec.populations


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
    model = Branches()
    model.unused = mlp()
    spec = NetworkSpec.from_module(model)
    assert spec.axes["unused.0.weight"] == ("unused.0", "unused.0.in")
    assert {"unused.0", "unused.0.in"} <= spec.pinned


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch.compile's own
@pytest.mark.parametrize(
    ("wrap", "prefix"), [(nn.DataParallel, "module"), (torch.compile, "_orig_mod")]
)
def test_a_wrapped_model_is_read_through_its_wrapper(wrap, prefix):
    spec = NetworkSpec.from_module(wrap(mlp()))
    assert spec.axes[f"{prefix}.2.weight"] == ("out", f"{prefix}.0")
