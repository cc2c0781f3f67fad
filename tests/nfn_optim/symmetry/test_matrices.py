"""Parameters as stacks of matrices, one a head, a gate or a group."""

import pytest
import torch

from nfn_optim import Heads, NetworkSpec
from nfn_optim.symmetry._permute import permute_params, random_permutations
from nfn_optim.testing import attention_spec, chain_spec, recurrent_spec, scattered_spec

BOTH = NetworkSpec(  # heads on both sides, maps and taps, in an odd order
    {"w": (None, "out", None, "in")},
    {"w": (2, 6, 5, 8)},
    heads={"out": Heads(3, "h"), "in": Heads(4, "k", is_rigid=True)},
    maps={"w": 2},
)
SPECS = {
    "chain": chain_spec([2, 3, 4], kernels=[(3, 3), ()]),
    "attention": attention_spec(),
    "recurrent": recurrent_spec(),
    "scattered": scattered_spec(),
    "both": BOTH,
}
every = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def drawn(spec, *batch):
    generator = torch.Generator().manual_seed(0)
    return {
        n: torch.randn((*batch, *shape), generator=generator, dtype=torch.float64)
        for n, shape in spec.stored.items()
    }


@every
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_views_go_there_and_back(spec, batch):
    for name, tensor in drawn(spec, *batch).items():
        matrices, axes = spec.matrices(name), spec.view(name, tensor)
        if matrices is None:
            continue
        viewed = matrices.view(axes)
        assert viewed.shape == (*batch, matrices.blocks, matrices.rows, matrices.columns)
        assert torch.equal(matrices.unview(viewed), axes)


def test_vectors_are_no_matrices():
    assert attention_spec().matrices("match.bias") is None
    assert recurrent_spec().matrices("bias") is None
    assert NetworkSpec({"gain": ("c", None)}, {"gain": (4, 1)}).matrices("gain") is None
    assert scattered_spec().matrices("scale") is None
    assert chain_spec([2, 3]).matrices("0.bias") is None


def test_a_depthwise_kernel_is_a_matrix_with_a_row_a_channel():
    spec = NetworkSpec({"depthwise": ("c", None, None)}, {"depthwise": (4, 3, 3)})
    kernel = torch.randn(4, 3, 3)
    torch.testing.assert_close(spec.matrices("depthwise").view(kernel), kernel.reshape(1, 4, 9))


def test_a_convolution_is_a_matrix_of_outputs_and_all_else():
    spec = SPECS["chain"]
    weight = drawn(spec)["0.weight"]
    assert torch.equal(spec.matrices("0.weight").view(weight), weight.flatten(1)[None])


def test_queries_and_keys_of_each_head_are_matrices():
    spec, stored = SPECS["attention"], drawn(SPECS["attention"])["match"]
    blocks = spec.matrices("match").view(spec.view("match", stored))
    expected = [
        stored[6 * kind + 2 * head : 6 * kind + 2 * head + 2]
        for head in range(3)
        for kind in range(2)
    ]
    assert torch.equal(blocks, torch.stack(expected))


def test_values_lie_along_the_outputs_and_their_way_back_along_the_inputs():
    spec, params = SPECS["attention"], drawn(SPECS["attention"])
    content, back = params["content"], params["back"]
    each = [content[4 * head : 4 * head + 4] for head in range(3)]
    assert torch.equal(spec.matrices("content").view(content), torch.stack(each))
    each = [back[:, 4 * head : 4 * head + 4] for head in range(3)]
    assert torch.equal(spec.matrices("back").view(back), torch.stack(each))


def test_gates_are_matrices():
    spec, params = SPECS["recurrent"], drawn(SPECS["recurrent"])
    for name in ("in", "self"):
        blocks = spec.matrices(name).view(params[name])
        assert torch.equal(blocks, params[name].movedim(-1, 0))


def test_a_table_maps_its_rows_to_what_they_hold():
    spec, stored = SPECS["attention"], drawn(SPECS["attention"])["table"]
    assert torch.equal(spec.matrices("table").view(spec.view("table", stored)), stored.T[None])


def test_kinds_of_blocks_multiply():
    weight, matrices = drawn(BOTH)["w"], BOTH.matrices("w")
    assert (matrices.blocks, matrices.rows, matrices.columns) == (3 * 5 * 4, 2, 2 * 2)
    blocks = iter(matrices.view(weight))
    for head in range(3):
        for kind in range(5):
            for source in range(4):
                part = weight[:, 2 * head : 2 * head + 2, kind, 2 * source : 2 * source + 2]
                assert torch.equal(next(blocks), part.movedim(0, 1).flatten(1))


def test_a_view_shares_memory_where_it_can():
    spec, params = SPECS["attention"], drawn(SPECS["attention"])
    for name in ("content", "table"):
        viewed = spec.matrices(name).view(spec.view(name, params[name]))
        assert viewed.data_ptr() == params[name].data_ptr()


def polar(x):
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    return u @ v


@every
@pytest.mark.parametrize("group", ["np", "hnp"])
def test_what_is_done_to_each_matrix_commutes_with_renumbering(spec, group):
    def each(params):
        result = {}
        for name, tensor in params.items():
            matrices, axes = spec.matrices(name), spec.view(name, tensor)
            done = axes if matrices is None else matrices.unview(polar(matrices.view(axes)))
            result[name] = spec.unview(name, done)
        return result

    params = drawn(spec)
    permutations = random_permutations(getattr(spec, group)(), torch.Generator().manual_seed(1))
    expected = permute_params(spec, each(params), permutations)
    for name, tensor in each(permute_params(spec, params, permutations)).items():
        torch.testing.assert_close(tensor, expected[name], msg=name)


def test_matrices_of_torn_heads_do_not_commute():
    """The law can fail: a permutation that tears heads apart is none of the group."""
    spec = SPECS["attention"]
    weight = drawn(spec)["content"]
    matrices, order = spec.matrices("content"), torch.arange(12).roll(1)
    done = matrices.unview(polar(matrices.view(weight)))[order]
    assert (matrices.unview(polar(matrices.view(weight[order]))) - done).abs().max() > 1e-3
