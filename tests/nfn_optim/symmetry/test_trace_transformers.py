"""Attention and transformers of torch.nn: their streams, hidden neurons and heads."""

import pytest
import torch
from einops.layers.torch import Rearrange
from torch import nn

from nfn_optim import NetworkSpec
from nfn_optim.symmetry.tracer import trace

C, H = 8, 2


class Reader(nn.Module):
    """Tokens of three numbers, a layer on them, and a readout."""

    def __init__(self, layer, call=lambda layer, x, y: layer(x), **options):
        super().__init__()
        self.embed, self.other = nn.Linear(3, C), nn.Linear(3, options.get("width", C))
        self.layer, self.head, self.call = layer, nn.Linear(C, 2), call

    def forward(self, x):
        y = self.call(self.layer, self.embed(x), self.other(x))
        return self.head(y)


def attend(layer, x, y):
    return layer(x, y, y)[0] + x


def masked(layer, x, y):
    _b, n, _ = x.shape
    mask = nn.Transformer.generate_square_subsequent_mask(n).to(x)
    return layer(x, x, x, attn_mask=mask, need_weights=False)[0]


def masked_by_heads(layer, x, y):
    b, n, _ = x.shape
    mask = torch.arange(2.0, dtype=x.dtype).repeat(b)[:, None, None].expand(b * H, n, n)
    mask = mask * torch.arange(n, dtype=x.dtype)
    return layer(x, x, x, attn_mask=mask)[0]


def seen_by_heads(layer, x, y):
    out, weights = layer(x, x, x, average_attn_weights=False)
    return out + weights[:, 0].sum(-1, keepdim=True)


def mean_seen(layer, x, y):
    out, weights = layer(x, x, x)
    return out + weights.square().sum(-1, keepdim=True)


def attention(**options):
    return nn.MultiheadAttention(C, H, batch_first=True, **options)


def layers(kind, **options):
    return kind(C, H, 12, 0.0, batch_first=True, **options)


ENCODER, DECODER = nn.TransformerEncoderLayer, nn.TransformerDecoderLayer
# Layers, how they are called, how many populations are free, and how many are made of heads.
CASES = {
    "attention": (attention(), attend, 2, 1),
    "self-attention": (attention(), lambda layer, x, y: layer(x, x, x)[0], 4, 1),
    "without biases": (attention(bias=False), attend, 2, 1),
    "biases of keys and values": (attention(add_bias_kv=True), attend, 2, 1),
    "time first": (nn.MultiheadAttention(C, H), attend, 2, 1),
    "one head": (nn.MultiheadAttention(C, 1, batch_first=True), attend, 2, 0),
    "a causal mask": (attention(), masked, 4, 1),
    "masks of each head": (attention(), masked_by_heads, 4, 1),
    "mean weights are read": (attention(), mean_seen, 4, 1),
    "weights of each head are read": (attention(), seen_by_heads, 3, 0),
    "encoder layer": (layers(ENCODER), lambda layer, x, y: layer(x), 4, 1),
    "norm first": (layers(ENCODER, norm_first=True, activation="gelu"), lambda m, x, y: m(x), 4, 1),
    "decoder layer": (layers(DECODER), lambda layer, x, y: layer(x, y), 4, 2),
    "encoder": (
        nn.TransformerEncoder(layers(ENCODER), 2, nn.LayerNorm(C), enable_nested_tensor=False),
        lambda layer, x, y: layer(x),
        6,
        2,
    ),
    "decoder": (nn.TransformerDecoder(layers(DECODER), 2), lambda m, x, y: m(x, y), 7, 4),
    "transformer": (
        nn.Transformer(C, H, 1, 1, 12, 0.0, batch_first=True),
        lambda layer, x, y: layer(x, y),
        6,
        3,
    ),
    "heads as a layer": (
        nn.Sequential(nn.Linear(C, C), Rearrange("b n (h d) -> b h n d", h=H), nn.Softmax(-1)),
        lambda layer, x, y: layer(x).transpose(1, 2).flatten(2),
        3,
        1,
    ),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", CASES)
def test_transformers_of_torch_are_read(name, assert_renumbering_keeps_the_function):
    layer, call, free, made_of_heads = CASES[name]
    spec = assert_renumbering_keeps_the_function(Reader(layer, call), torch.randn(4, 4, 3))
    assert len(spec.populations) == free
    assert len(set(spec.heads) & set(spec.populations)) == made_of_heads
    assert len(spec.names) == len(list(layer.parameters())) + 6


def test_keys_and_values_of_other_widths_are_read(assert_renumbering_keeps_the_function):
    layer = attention(kdim=5, vdim=5)
    model = Reader(layer, attend, width=5)
    spec = assert_renumbering_keeps_the_function(model, torch.randn(4, 4, 3))
    assert {"embed", "other", "layer"} == set(spec.populations)
    assert spec.axes["layer.k_proj_weight"] == ("layer", "other")


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [(layers(ENCODER), 1), (layers(DECODER), 2), (attention(kdim=5, vdim=7), 3)],
    ids=["encoder", "decoder", "attention"],
)
def test_a_layer_that_is_the_whole_network_has_inputs_of_its_own(layer, inputs):
    spec = NetworkSpec.from_module(layer)
    assert sum(label.startswith("in") for label in spec.io) == inputs
    assert set(spec.names) == {name for name, _ in layer.named_parameters()}


def test_layers_of_ones_own_in_an_encoder_are_read_by_their_code():
    class Own(ENCODER):
        def forward(self, src, *args, **kwargs):
            return self.linear2(self.linear1(src).cumsum(-1))

    model = nn.TransformerEncoder(Own(C, H, 12), 1, enable_nested_tensor=False)
    assert "layer.layers.0.linear1" in NetworkSpec.from_module(Reader(model)).pinned


def test_attention_with_computed_weights_is_left_out():
    layer = attention()
    nn.utils.parametrizations.orthogonal(layer, "in_proj_weight")
    found = trace(Reader(layer, attend))
    assert found.reasons["layer.out_proj.weight"].startswith("its attention has weights")
    assert found.description.pinned >= {"embed", "other"}
