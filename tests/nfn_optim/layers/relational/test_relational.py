import pytest
import torch
from torch import nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import SharedNPLinear, SharedPointwise
from nfn_optim.layers.relational import roles_of
from nfn_optim.symmetry import SpecError
from nfn_optim.symmetry._permute import permute, random_permutations
from nfn_optim.testing import attention_spec, random_features, recurrent_spec, scattered_spec

NETWORKS = {
    "one layer": nn.Linear(4, 3),
    "deep": nn.Sequential(*[nn.Linear(a, a + 1) for a in range(2, 7)]),
    "no bias": nn.Sequential(nn.Linear(2, 5, bias=False), nn.Linear(5, 3, bias=False)),
    "conv": nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 1), nn.Flatten(), nn.Linear(12, 2)),
    "conv1d": nn.Sequential(nn.Conv1d(2, 4, 5), nn.ReLU(), nn.Conv1d(4, 3, 3)),
}
SPECS = {name: NetworkSpec.from_module(module) for name, module in NETWORKS.items()}


@pytest.fixture(params=SPECS.values(), ids=SPECS)
def feats(request):
    return drawn(request.param)


def drawn(spec):
    return random_features(spec, 3, torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return SharedNPLinear(3, 5, context_channels=2).double()


def context(spec: NetworkSpec) -> dict[str, torch.Tensor]:
    values = torch.arange(2.0 * len(spec.names), dtype=torch.float64).reshape(-1, 1, 2)
    return {n: v.expand(2, 2) for n, v in zip(spec.names, values, strict=True)}


HAND = {"scattered": scattered_spec(), "attention": attention_spec(), "recurrent": recurrent_spec()}


@pytest.mark.parametrize("spec", (SPECS | HAND).values(), ids=SPECS | HAND)
def test_shared_layer_commutes_with_permutations(spec, layer):
    feats = drawn(spec)
    permutations = random_permutations(feats.spec, torch.Generator().manual_seed(1))
    given = context(feats.spec)
    expected = permute(layer(feats, given), permutations)
    for name, tensor in layer(permute(feats, permutations), given).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-12, msg=name)


def test_shared_layer_notices_uncoupled_permutations(feats, layer):
    """Renumbering one parameter's neurons without its neighbour's must show in the neighbour."""
    *others, weight = feats.spec.weights
    neighbor, axis = (others[-1], 2) if others else (feats.spec.vectors[0], 1)
    order = torch.arange(feats[weight].shape[axis]).roll(1)
    moved = WeightSpaceFeatures(
        feats.spec, {n: t.index_select(axis, order) if n == weight else t for n, t in feats.items()}
    )
    given = context(feats.spec)
    assert (layer(moved, given)[neighbor] - layer(feats, given)[neighbor]).abs().max() > 1e-6


def test_shared_layer_is_one_weight_set_for_all_networks(layer):
    assert sum(p.numel() for p in layer.parameters()) < 700
    for spec in (*SPECS.values(), scattered_spec()):
        tensors = {n: torch.ones(2, *spec.shapes[n], 3, dtype=torch.float64) for n in spec.names}
        out = layer(WeightSpaceFeatures(spec, tensors), context(spec))
        assert all(out[n].shape == (2, *spec.shapes[n], 5) for n in spec.names)


def test_shared_layer_on_a_chain_by_its_equation():
    """Eq. 3's terms for the first weight of a two-layer network, written out."""
    spec = NetworkSpec.from_module(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)))
    layer = SharedNPLinear(1, 1).double()
    generator = torch.Generator().manual_seed(0)
    x = {
        n: torch.randn(*spec.shapes[n], 1, generator=generator, dtype=torch.float64)
        for n in spec.names
    }
    w, v, w2, v2 = (x[n][..., 0] for n in spec.names)
    out = layer(WeightSpaceFeatures(spec, x))["0.weight"][..., 0]
    from_outputs = layer.neurons[0, 0] * w.mean(1) + layer.neurons[0, 1] * w2.mean(0)
    rows = from_outputs + layer.neurons[0, 2] * v + layer.own[0].squeeze() * w.mean(1)
    cols = layer.neurons[1, 1] * w.mean(0) + layer.own[1].squeeze() * w.mean(0)
    whole = torch.stack([w.mean(), (w.mean() + w2.mean()) / 2, (v.mean() + v2.mean()) / 2])
    expected = layer.entry.squeeze() * w + rows[:, None] + cols[None] + layer.network[0, 0] @ whole
    torch.testing.assert_close(out, expected)


def test_shared_layer_keeps_scale_at_initialisation(feats):
    torch.manual_seed(1)
    variance = SharedNPLinear(3, 64).double()(feats)[feats.spec.weights[0]].var()
    assert 0.02 < variance < 2


def test_shared_layer_does_not_depend_on_the_order_of_axes(layer):
    axes = {"w": ("out", "in", None), "v": ("out", None), "table": (None, None), "scale": ()}
    shapes = {"w": (4, 3, 2), "v": (4, 5), "table": (2, 3), "scale": ()}
    orders = {"w": (2, 0, 1), "v": (1, 0), "table": (1, 0), "scale": ()}  # outputs before inputs
    spec = NetworkSpec(axes, shapes)
    moved = NetworkSpec(
        *(
            {n: [table[n][i] for i in order] for n, order in orders.items()}
            for table in (axes, shapes)
        )
    )

    def reordered(feats):
        return {n: feats[n].permute(0, *(1 + i for i in orders[n]), -1) for n in spec.names}

    feats = drawn(spec)
    out = layer(WeightSpaceFeatures(moved, reordered(feats)), context(spec))
    torch.testing.assert_close(dict(out), reordered(layer(feats, context(spec))))


def test_shared_layer_connects_scalars_and_tables_to_the_network(layer):
    feats = drawn(scattered_spec())
    given = context(feats.spec)
    before = layer(feats, given)
    for changed in ("scale", "table", "first"):
        moved = WeightSpaceFeatures(feats.spec, {**feats, changed: 2 * feats[changed]})
        after = layer(moved, given)
        assert all((after[n] - before[n]).abs().max() > 1e-6 for n in feats), changed


def test_a_map_of_neurons_to_themselves_is_one_of_two_populations_that_are_joined(layer):
    """Each of its two axes has its own role, as if they were different neurons."""
    axes = {"w": ("a", "a"), "v": ("a",)}
    spec = NetworkSpec(axes, {"w": (4, 4), "v": (4,)})
    feats = drawn(spec)
    out = layer(feats, context(spec))
    turned = WeightSpaceFeatures(spec, {**feats, "w": feats["w"].transpose(1, 2)})
    again = layer(turned, context(spec))["w"].transpose(1, 2)
    assert (again - out["w"]).abs().max() > 1e-3


@pytest.mark.parametrize("spec", HAND.values(), ids=HAND)
def test_matrices_are_the_same_where_labels_stand_first(spec):
    roles = roles_of(spec)
    tensor = {n: torch.randn(spec.stored[n]) for n in spec.names}
    for p in roles.parameters:
        given, moved = spec.matrices(p.name), roles.spec.matrices(p.name)
        if not any(spec.axes[p.name]):
            continue  # such a parameter has got an axis of its own
        assert (given is None) == (moved is None)
        if given is not None and moved is not None:
            x = given.view(spec.view(p.name, tensor[p.name]))
            y = moved.view(roles.spec.view(p.name, tensor[p.name]))
            assert torch.equal(x.sort(-1).values, y.sort(-1).values)


def test_the_pointwise_layer_maps_every_entry_and_descriptors_of_its_parameter():
    spec = SPECS["conv"]
    torch.manual_seed(0)
    layer, feats, given = SharedPointwise(3, 5, 2).double(), drawn(spec), context(spec)
    out = layer(feats, given)
    for name, x in feats.items():
        kind = int(name not in spec.weights)
        known = given[name] @ layer.context[kind].t() + layer.bias[kind, :, 0]
        known = known.reshape(2, *(1,) * (x.dim() - 2), 5)
        torch.testing.assert_close(out[name], x @ layer.entry[kind].t() + known)
    alone = SharedPointwise(3, 5).double()(feats)
    assert all(out[n].shape == t.shape for n, t in alone.items())


def test_shared_layer_refuses_three_populations_by_name(layer):
    spec = NetworkSpec({"core": ("a", None, "b", "c")}, {"core": (2, 3, 4, 5)})
    with pytest.raises(
        SpecError, match=r"'core' runs over 3 populations .* Label at most two axes"
    ):
        layer(drawn(spec))
