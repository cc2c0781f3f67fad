"""Agreement with the public reference implementation `nfn` 0.1.2, and where it is wrong.

Weights are copied from the reference into ours block by block. Its tensors are channels first, its
kernel taps vary fastest within a channel (`c h w`); ours fold taps before channels.
"""

import pytest
import torch
from torch import nn

reference = pytest.importorskip("nfn.layers")
common = pytest.importorskip("nfn.common")

from nfn_optim import WeightSpaceFeatures  # noqa: E402
from nfn_optim.layers import (  # noqa: E402
    CrossAttnPool,
    FlattenWeights,
    GaussianFourierFeatures,
    HNPLinear,
    HNPPool,
    IOSinusoidalEncoding,
    LearnedPosEmbedding,
    LearnedScale,
    Map,
    NPAttention,
    NPLinear,
    NPPool,
    Pointwise,
    ResidualBlock,
    StatFeaturizer,
    UnflattenWeights,
    WeightSpaceLayerNorm,
)
from nfn_optim.testing import chain_spec  # noqa: E402

C_IN, C_OUT = 4, 6
KERNELS = {
    "MLP": lambda depth: [()] * depth,
    "CNN": lambda depth: [(3, 3)] * (depth - 1) + [()],
    "CNN of two kernel sizes": lambda depth: [(1, 3)] + [(3, 3)] * (depth - 2) + [()],
}
CASES = [(kind, depth) for kind in KERNELS for depth in (2, 3, 4)]
cases = pytest.mark.parametrize(("kind", "depth"), CASES)
mlps = pytest.mark.parametrize("depth", [2, 3, 4])


class Pair:
    """One random input, in both libraries' forms."""

    def __init__(self, kind="MLP", depth=3, channels=C_IN, kernels=None, widths=None):
        torch.manual_seed(0)
        widths = widths or [*[2, 5, 4, 6][:depth], 3]
        self.depth, self.widths = depth, widths
        self.kernels = kernels or KERNELS[kind](depth)
        self.spec = chain_spec(widths, self.kernels)
        shapes = [(3, channels, widths[i + 1], widths[i], *self.kernels[i]) for i in range(depth)]
        weights = [torch.randn(shape, requires_grad=True) for shape in shapes]
        biases = [torch.randn(3, channels, n, requires_grad=True) for n in widths[1:]]
        self.theirs = common.WeightSpaceFeatures(weights, biases)
        self.their_spec = common.network_spec_from_wsfeat(self.theirs, set_all_dims=True)
        ours = {}
        for i, (w, b) in enumerate(self.theirs):
            ours[f"{i}.weight"] = w.detach().movedim(1, -1).clone().requires_grad_()
            ours[f"{i}.bias"] = b.detach().movedim(1, -1).clone().requires_grad_()
        self.ours = WeightSpaceFeatures(self.spec, ours)

    @property
    def taps(self):
        return [torch.Size(kernel).numel() for kernel in self.kernels]

    def check(self, their_layer, our_layer):
        """Outputs and gradients in the inputs agree to 1e-5 relative."""
        theirs, ours = their_layer(self.theirs), our_layer(self.ours)
        if isinstance(ours, WeightSpaceFeatures):
            expected = self._named([*theirs.weights], [*theirs.biases])
            theirs_all, ours_all = self._zipped(expected, ours)
        else:
            theirs_all, ours_all = [theirs], [ours]
        for a, b in zip(theirs_all, ours_all, strict=True):
            close(b, a)
        torch.manual_seed(1)
        cotangents = [torch.randn(a.shape) for a in theirs_all]
        their_inputs = [*self.theirs.weights, *self.theirs.biases]
        their_grads = torch.autograd.grad(theirs_all, their_inputs, cotangents, allow_unused=True)
        our_grads = torch.autograd.grad(
            ours_all, list(self.ours.values()), cotangents, allow_unused=True
        )
        expected = self._named(their_grads[: self.depth], their_grads[self.depth :])
        for name, grad in zip(self.spec.names, our_grads, strict=True):
            close(grad, expected[name])

    def _named(self, weights, biases):
        named = {f"{i}.weight": w for i, w in enumerate(weights)}
        named |= {f"{i}.bias": b for i, b in enumerate(biases)}
        return {n: t.movedim(1, -1) for n, t in named.items()}

    def _zipped(self, theirs, ours):
        return [theirs[n] for n in self.spec.names], [ours[n] for n in self.spec.names]


def close(ours, theirs):
    scale = theirs.abs().max().clamp_min(1e-12)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() / scale < 1e-5


class Copier:
    """Writes the reference's matrices into our layer's blocks; all others stay zero."""

    def __init__(self, layer):
        self.layer = layer
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.zero_()
        self.blocks = {(b.target, b.source, b.kept): b.weight for b in layer.blocks()}
        self.written = set()

    def block(self, target, source, kept, matrix, f_in, f_out):
        """`matrix` is theirs, `(c_out*f_out, c_in*f_in)` with fixed entries fastest."""
        key = (target, source, kept)
        ours = matrix.detach().reshape(-1, f_out, matrix.numel() // matrix.shape[0] // f_in, f_in)
        ours = ours.permute(3, 2, 1, 0)  # (f_in, c_in, f_out, c_out)
        self.blocks[key] += ours.reshape(self.blocks[key].shape)
        self.written.add(key)

    def bias(self, target, vector, f_out):
        self.layer.bias_of(target).add_(vector.detach().reshape(-1, f_out).t().flatten())

    @property
    def missing(self):
        return set(self.blocks) - self.written


def module(layer, name):
    m = getattr(layer, name)
    return m.weight.flatten(1), m.bias


def copy_np(theirs, ours, taps):
    """Eq. 3 of the paper, term by term."""
    copier, depth = Copier(ours), len(taps)
    populations = ["in", *(f"h{i}" for i in range(1, depth)), "out"]
    means = [(f"{i}.weight", taps[i]) for i in range(depth)] + [
        (f"{i}.bias", 1) for i in range(depth)
    ]

    def split(matrix, sources, target, f_out, kept):
        widths = [f * C_IN for _, f in sources]
        for (source, f_in), piece in zip(sources, matrix.split(widths, 1), strict=True):
            copier.block(target, source, kept, piece, f_in, f_out)

    for i in range(depth):
        f, row, column = taps[i], populations[i + 1], populations[i]
        column_terms = [(f"{i}.weight", f)]
        row_terms = [(f"{i}.weight", f), (f"{i}.bias", 1)]
        if i > 0:
            column_terms += [(f"{i - 1}.weight", taps[i - 1]), (f"{i - 1}.bias", 1)]
        if i < depth - 1:
            row_terms += [(f"{i + 1}.weight", taps[i + 1])]
        for name, sources, target, f_out, kept in [
            (f"layer_{i}", [(f"{i}.weight", f)], f"{i}.weight", f, (row, column)),
            (f"layer_{i}_rc", means, f"{i}.weight", f, ()),
            (f"layer_{i}_r", column_terms, f"{i}.weight", f, (column,)),
            (f"layer_{i}_c", row_terms, f"{i}.weight", f, (row,)),
            (f"bias_{i}", row_terms, f"{i}.bias", 1, (row,)),
            (f"bias_{i}_rc", means, f"{i}.bias", 1, ()),
        ]:
            matrix, vector = module(theirs, name)
            split(matrix, sources, target, f_out, kept)
            copier.bias(target, vector, f_out)
    return copier


@cases
def test_np_linear(kind, depth):
    pair = Pair(kind, depth)
    theirs = reference.NPLinear(pair.their_spec, C_IN, C_OUT)
    ours = NPLinear(pair.spec, C_IN, C_OUT)
    assert not copy_np(theirs, ours, pair.taps).missing
    pair.check(theirs, ours)


def dense(layer, spec, channels, from_tuple=False):
    """The layer's matrix, `(channels, entries in, entries out, channels out)`, without its bias."""
    zero = torch.zeros(1, spec.num_entries, channels, dtype=torch.float64)
    eye = torch.eye(spec.num_entries, dtype=torch.float64)
    basis = torch.einsum("ij,cd->cijd", eye, torch.eye(channels, dtype=torch.float64)).flatten(0, 1)
    unflatten, flatten = UnflattenWeights(spec), FlattenWeights(spec)

    def apply(flat):
        feats = unflatten(flat)
        if not from_tuple:
            return flatten(layer(feats))
        out = layer(common.WeightSpaceFeatures(*feats.to_tuple()))
        return flatten(WeightSpaceFeatures.from_tuple(spec, out.weights, out.biases))

    with torch.no_grad():
        return (apply(basis) - apply(zero)).unflatten(0, (channels, -1)), apply(zero)[0]


def copy_by_projection(theirs, ours, spec):
    """Solves for the weights of ours that give their matrix; possible since ours is complete."""
    matrix, constant = dense(theirs.double(), spec, C_IN, from_tuple=True)
    unit = type(ours)(spec, 1, 1).double()
    family = []
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.zero_()
        for weight in unit.weights:
            for position in range(weight.numel()):
                weight.view(-1)[position] = 1
                family.append(dense(unit, spec, 1)[0].flatten())
                weight.view(-1)[position] = 0
        target = matrix.permute(1, 2, 0, 3).reshape(len(family[0]), -1)  # (pairs, c_in * c_out)
        design = torch.stack(family, dim=1)
        solution = torch.linalg.lstsq(design, target).solution
        residual = (design @ solution - target).abs().max()
        pieces = solution.view(-1, C_IN, C_OUT).split([w.numel() for w in unit.weights])
        for weight, small, piece in zip(ours.weights, unit.weights, pieces, strict=True):
            f_in, f_out = small.shape
            weight.copy_(piece.view(f_in, f_out, C_IN, C_OUT).transpose(1, 2).reshape(weight.shape))
        ours.bias.zero_()
        copy_constant(ours, constant, spec)
    theirs.float()
    return residual


def copy_constant(ours, constant, spec):
    """An equivariant constant is the same for all neurons: read it off the first."""
    feats = UnflattenWeights(spec)(constant)
    for name in spec.names:
        labels = ours.spec.labels(name)
        first = feats[name][tuple(slice(None) if label is None else 0 for label in labels)]
        ours.bias_of(name).copy_(first.flatten())


SMALL = {"MLP": lambda depth: [()] * depth, "CNN": lambda depth: [(1, 2)] * (depth - 1) + [()]}


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_hnp_linear(kind, depth):
    kernels = SMALL[kind](depth)
    pair = Pair(kernels=kernels, depth=depth, widths=[*[2, 3, 4, 2, 3][:depth], 2])
    theirs = reference.HNPLinear(pair.their_spec, C_IN, C_OUT)
    ours = HNPLinear(pair.spec, C_IN, C_OUT)
    assert copy_by_projection(theirs, ours, pair.spec) < 1e-10
    pair.check(theirs, ours)


@pytest.mark.parametrize("depth", [2, 3])
def test_the_reference_hnp_linear_lacks_the_bias_before_the_last_weight(depth):
    """Table 9 has the map from v(L-1) to W(L); theirs ignores it, ours has it."""
    pair = Pair(depth=depth, widths=[*[2, 3, 4][:depth], 2])
    theirs = reference.HNPLinear(pair.their_spec, C_IN, C_OUT)
    ours = HNPLinear(pair.spec, C_IN, C_OUT)
    blocks = {(b.target, b.source, b.kept): b.weight for b in ours.blocks()}
    lost = blocks[f"{depth - 1}.weight", f"{depth - 2}.bias", (f"h{depth - 1}",)]
    assert lost.abs().max() > 0.01
    copy_by_projection(theirs, ours, pair.spec)
    assert lost.abs().max() < 1e-6


@cases
def test_pointwise(kind, depth):
    pair = Pair(kind, depth)
    theirs, ours = (
        reference.Pointwise(pair.their_spec, C_IN, C_OUT),
        Pointwise(pair.spec, C_IN, C_OUT),
    )
    with torch.no_grad():
        for i, f in enumerate(pair.taps):
            for name, width, conv in [
                ("weight", f, theirs.weight_maps[i]),
                ("bias", 1, theirs.bias_maps[i]),
            ]:
                linear = ours.maps[pair.spec.names.index(f"{i}.{name}")]
                matrix = conv.weight.view(C_OUT, width, C_IN, width).permute(1, 0, 3, 2)
                linear.weight.copy_(matrix.reshape(linear.weight.shape))
                linear.bias.copy_(conv.bias.view(C_OUT, width).t().flatten())
    pair.check(theirs, ours)


def features_first(fn):
    """Their pools give `(batch, channels, features)`; ours `(batch, features * channels)`."""
    return lambda feats: fn(feats).transpose(1, 2).flatten(1)


@cases
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(reference.NPPool, NPPool), (reference.HNPPool, HNPPool)],
    ids=["NP", "HNP"],
)
def test_pools(kind, depth, theirs, ours):
    pair = Pair(kind, depth)
    pair.check(features_first(theirs(pair.their_spec)), ours(pair.spec))


@mlps
def test_stat_featurizer(depth):
    pair = Pair(depth=depth)
    pair.check(features_first(reference.StatFeaturizer()), StatFeaturizer(pair.spec))


@mlps
@pytest.mark.parametrize("heads", [1, 2])
def test_attention(depth, heads):
    pair = Pair(depth=depth)
    theirs = reference.NPAttention(pair.their_spec, C_IN, heads)
    ours = NPAttention(pair.spec, C_IN, heads)
    copy_projection(theirs.to_qkv.linear, ours.project[0], 1)
    pair.check(theirs, ours)


@cases
def test_attention_with_own_projections(kind, depth):
    """Theirs maps back with a bias, added once per term; only without it is that one map."""
    pair = Pair(kind, depth)
    theirs = reference.NPAttention(pair.their_spec, C_IN, 2, share_projections=False)
    ours = NPAttention(pair.spec, C_IN, 2, share_projections=False)
    for i, f in enumerate(pair.taps):
        weight, bias = (pair.spec.names.index(f"{i}.{kind}") for kind in ("weight", "bias"))
        copy_projection(theirs.weight_to_qkv[i].linear, ours.project[weight], f)
        copy_projection(theirs.bias_to_qkv[i].linear, ours.project[bias], 1)
        back = theirs.unproject_weight[i].linear
        with torch.no_grad():
            back.bias.zero_()
            if f == 1:
                back.weight.copy_(torch.eye(C_IN))
            else:
                mine = ours.unproject[weight]
                mine.bias.zero_()
                mine.weight.copy_(back.weight.view(C_IN, f, C_IN).transpose(0, 1).flatten(0, 1))
    pair.check(theirs, ours)


@torch.no_grad()
def copy_projection(theirs, ours, taps):
    ours.bias.copy_(theirs.bias)
    ours.weight.copy_(theirs.weight.view(-1, C_IN, taps).transpose(1, 2).flatten(1))


@mlps
def test_cross_attention_pool(depth):
    pair = Pair(depth=depth)
    theirs = reference.CrossAttnEncoder(pair.their_spec, C_IN, 5)
    ours = CrossAttnPool(pair.spec, C_IN, 5)
    with torch.no_grad():
        ours.queries.copy_(theirs.embeddings)
    pair.check(theirs, ours)


@cases
def test_learned_positions(kind, depth):
    pair = Pair(kind, depth)
    theirs, ours = (
        reference.LearnedPosEmbedding(pair.their_spec, C_IN),
        LearnedPosEmbedding(pair.spec, C_IN),
    )
    tables = {"in": theirs.inp_emb.weight, "out": theirs.out_emb.weight}
    with torch.no_grad():
        for i in range(depth):
            ours.parameters_embedding[2 * i] = theirs.weight_emb.weight[i]
            ours.parameters_embedding[2 * i + 1] = theirs.bias_emb.weight[i]
        labels = [label for label in pair.spec.sizes if label in tables]
        for label, table in zip(labels, ours.position_embeddings, strict=True):
            table.copy_(tables[label])
    pair.check(theirs, ours)


@cases
@pytest.mark.parametrize("layers", [True, False])
def test_sinusoidal_positions(kind, depth, layers):
    pair = Pair(kind, depth)
    theirs = reference.IOSinusoidalEncoding(pair.their_spec, 8, 3, enc_layers=layers)
    pair.check(theirs, IOSinusoidalEncoding(pair.spec, 8, 3, encode_layers=layers))


@cases
def test_gaussian_fourier_features(kind, depth):
    pair = Pair(kind, depth)
    theirs = reference.GaussianFourierFeatureTransform(pair.their_spec, C_IN, 5, 0.5)
    ours = GaussianFourierFeatures(pair.spec, C_IN, 5, 0.5)
    ours.frequencies.copy_(theirs._B)
    pair.check(theirs, ours)


@cases
def test_np_layer_norm(kind, depth):
    """Theirs divides by the unbiased deviation plus epsilon, ours by the usual biased one."""
    pair = Pair(kind, depth)
    theirs, ours = (
        reference.SimpleLayerNorm(pair.their_spec, C_IN),
        WeightSpaceLayerNorm(pair.spec.np(), C_IN, 0),
    )
    norms = {f"{i}.weight": n for i, n in enumerate(theirs.w_norms)}
    norms |= {f"{i}.bias": n for i, n in enumerate(theirs.v_norms)}
    with torch.no_grad():
        for name, gain in zip(pair.spec.names, ours.gains, strict=True):
            norms[name].eps = 0
            gain.mul_((1 - 1 / gain.numel()) ** 0.5)
    pair.check(theirs, ours)


@mlps
def test_hnp_layer_norm(depth):
    pair = Pair(depth=depth)
    pair.check(
        reference.ParamLayerNorm(pair.their_spec, C_IN), WeightSpaceLayerNorm(pair.spec.hnp(), C_IN)
    )


@cases
def test_small_modules(kind, depth):
    pair = Pair(kind, depth)
    pair.check(reference.TupleOp(nn.GELU()), Map(nn.GELU()))
    pair.check(reference.LearnedScale(pair.their_spec, 0.3), LearnedScale(pair.spec, 0.3))
    block = reference.ResBlock(
        reference.TupleOp(nn.Tanh()), reference.TupleOp(nn.SiLU()), 0, nn.Identity()
    )
    pair.check(block, ResidualBlock(Map(nn.Tanh()), Map(nn.SiLU())))


@mlps
def test_flatten(depth):
    pair = Pair(depth=depth)
    pair.check(reference.FlattenWeights(pair.their_spec), FlattenWeights(pair.spec))


def test_the_reference_cannot_read_one_layer():
    """L = 1: theirs fails or miscounts; ours is the general case."""
    pair = Pair(depth=1)
    with pytest.raises(IndexError):
        reference.HNPLinear(pair.their_spec, C_IN, C_OUT)
    theirs = reference.HNPPool(pair.their_spec)(pair.theirs)
    assert reference.HNPPool.get_num_outs(pair.their_spec) != theirs.shape[-1]
    pool = HNPPool(pair.spec)
    assert pool(pair.ours).shape[-1] == pool.out_features(C_IN)
    assert HNPLinear(pair.spec, C_IN, C_OUT)(pair.ours).channels == C_OUT


def test_the_reference_codes_outputs_wrongly_in_an_all_convolutional_net():
    pair = Pair(kernels=[(3, 3)] * 3)
    with pytest.raises(RuntimeError):
        reference.IOSinusoidalEncoding(pair.their_spec, 8, 3)(pair.theirs)
    ours = IOSinusoidalEncoding(pair.spec, 8, 3, encode_layers=False)(pair.ours)
    code = ours["2.weight"][0, ..., C_IN:]
    assert torch.equal(code, code[:, :1, :1, :1].expand_as(code))
    assert torch.equal(code[:, 0, 0, 0], ours["2.bias"][0, :, C_IN:])


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_the_reference_gives_nan_for_one_channel_and_for_one_entry():
    pair = Pair(channels=1)
    assert reference.SimpleLayerNorm(pair.their_spec, 1)(pair.theirs).weights[0].isnan().all()
    assert not WeightSpaceLayerNorm(pair.spec, 1)(pair.ours)["0.weight"].isnan().any()
    single = Pair(depth=2, widths=[2, 3, 1])
    assert reference.StatFeaturizer()(single.theirs).isnan().any()
    assert not StatFeaturizer(single.spec)(single.ours).isnan().any()


def test_the_reference_needs_every_bias():
    with pytest.raises((AssertionError, IndexError)):
        common.state_dict_to_tensors(nn.Linear(2, 3, bias=False).state_dict())
    spec = chain_spec([2, 3, 2], biases=[False, False])
    feats = WeightSpaceFeatures(spec, {n: torch.zeros(1, *s, 2) for n, s in spec.shapes.items()})
    assert NPLinear(spec, 2, 3)(feats).channels == 3


def test_the_reference_pools_no_convolutions_by_attention():
    pair = Pair("CNN")
    with pytest.raises(RuntimeError):
        reference.CrossAttnEncoder(pair.their_spec, C_IN, 5)(pair.theirs)
    assert CrossAttnPool(pair.spec, C_IN, 5)(pair.ours).shape == (3, 5, C_IN)
