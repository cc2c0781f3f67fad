"""Directions: polar factors, whole or of bands, of all matrices of a size at once."""

import pytest
import torch

from nfn_optim.rules import Spectral
from nfn_optim.rules._polar import banded_polar_factor, polar_factor
from nfn_optim.testing import attention_spec, chain_spec, recurrent_spec

LYING = [(64, 1024), (100, 150), (130, 200), (130, 130)]


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=dtype)


def pointed(spec, momenta):
    """Directions without a memory."""
    return Spectral(steep=0)(spec, momenta, {})[0]


def rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 4, 4), (6, 1), (3, 40, 90)])
def test_polar_factor_levels_singular_values_and_commutes_with_permutations(shape):
    matrix = drawn(*shape)
    factor = polar_factor(matrix)
    values = torch.linalg.svdvals(factor) / max(shape[-2:]) ** 0.5
    assert values.min() > 0.6
    assert values.max() < 1.3
    rows, columns = torch.randperm(shape[-2]), torch.randperm(shape[-1])
    torch.testing.assert_close(
        polar_factor(matrix[..., rows, :][..., columns]), factor[..., rows, :][..., columns]
    )
    torch.testing.assert_close(polar_factor(1e3 * matrix), factor)


@pytest.mark.parametrize("decades", [1, 3, 7])
@pytest.mark.parametrize("shape", [(64, 200), (60, 64)])
def test_single_precision_is_enough_for_all_steps_at_once(shape, decades):
    left, _, right = torch.linalg.svd(drawn(*shape), full_matrices=False)
    values = torch.logspace(0, -decades, shape[0], dtype=torch.float64)
    matrix = left * values @ right
    exact = polar_factor(matrix)
    error = polar_factor(matrix.float()).double() - exact
    assert rms(error) < 1e-3 * rms(exact)


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (40, 200), (200, 150)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_has_no_direction(shape, dtype):
    spec, zeros = chain_spec([shape[1], shape[0]]), torch.zeros(shape, dtype=dtype)
    assert torch.equal(pointed(spec, {"0.weight": zeros})["0.weight"], zeros)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (150, 140)])
def test_what_has_no_momentum_has_no_direction_and_the_rest_has_the_polar_factor_s(shape):
    spec, momentum = chain_spec([shape[1], shape[0]]), drawn(*shape)
    momentum[drawn(*shape[::-1]).mT > 0] = 0
    is_lying = shape[0] <= shape[1]
    lying = momentum if is_lying else momentum.mT
    polar = banded_polar_factor(lying.unsqueeze(0), Spectral().num_bands(*shape, "cpu"))[0]
    expected = polar if is_lying else polar.mT
    found = pointed(spec, {"0.weight": momentum})["0.weight"]
    assert torch.equal(found != 0, momentum != 0)
    torch.testing.assert_close(found, expected * (momentum != 0))


@pytest.mark.parametrize("bands", [1, 3])
def test_matrices_of_rank_one_keep_their_vectors(bands):
    left, right = drawn(40, 1), drawn(1, 90)
    factor = banded_polar_factor((left @ right).unsqueeze(0), bands)[0]
    assert factor.isfinite().all()
    assert torch.linalg.matrix_rank(factor, rtol=1e-6) <= bands
    projected = factor @ right.T @ right / right.square().sum()
    torch.testing.assert_close(projected, factor)


@pytest.mark.parametrize("bands", [1, 2, 7])
@pytest.mark.parametrize("shape", LYING)
def test_columns_of_zeros_change_nothing_but_the_scale(shape, bands):
    matrix = drawn(2, *shape)
    wider = torch.cat([matrix, torch.zeros(2, shape[0], 50).double()], -1)
    found = banded_polar_factor(wider, bands)
    expected = banded_polar_factor(matrix, bands) * ((shape[1] + 50) / shape[1]) ** 0.5
    torch.testing.assert_close(found[..., : shape[1]], expected)
    assert not found[..., shape[1] :].any()


@pytest.mark.parametrize("shape", LYING)
def test_bands_commute_with_permutations_and_know_no_scale(shape):
    matrix = drawn(2, *shape)
    factor = banded_polar_factor(matrix, 3)
    rows, columns = torch.randperm(shape[0]), torch.randperm(shape[1])
    torch.testing.assert_close(
        banded_polar_factor(matrix[:, rows][..., columns], 3), factor[:, rows][..., columns]
    )
    torch.testing.assert_close(banded_polar_factor(1e-3 * matrix, 3), factor)


def test_each_band_is_a_polar_factor_of_rows_dealt_by_their_norms():
    matrix = drawn(1, 7, 30)
    factor = banded_polar_factor(matrix, 3)[0]
    order = matrix[0].norm(dim=1).argsort(descending=True)
    for band in range(3):
        rows = order[band::3]
        torch.testing.assert_close(factor[rows], polar_factor(matrix[0, rows]))


@pytest.mark.parametrize("spec", [attention_spec(), recurrent_spec(), chain_spec([9, 5, 9, 5, 9])])
def test_matrices_of_one_size_at_once_are_as_one_by_one(spec):
    momenta = {name: drawn(2, *spec.shapes[name]) for name in spec.names}
    together = pointed(spec, momenta)
    assert together.keys() == Spectral().matrices(spec).keys()
    for name, direction in together.items():
        matrices = spec.matrices(name)
        views, found = matrices.view(momenta[name]), matrices.view(direction)
        for index in torch.cartesian_prod(*map(torch.arange, views.shape[:2])):
            one = polar_factor(views[tuple(index)])
            torch.testing.assert_close(found[tuple(index)], one)


@pytest.mark.parametrize("rows", [128, 129, 256, 1024])
def test_bands_keep_the_scale_and_most_of_the_direction_of_the_whole(rows):
    matrix = drawn(1, rows, 1024)
    bands = Spectral().num_bands(rows, 1024, "cpu")
    factor, whole = banded_polar_factor(matrix, bands), polar_factor(matrix)
    assert all(0.7 < rms(x) < 1.15 for x in (factor, whole))
    assert float((factor * whole).mean()) > 0.8 * rms(factor) * rms(whole)


def test_matrices_are_whole_where_they_are_small_or_a_gpu_works_them_out():
    direction = Spectral()
    assert [direction.num_bands(n, 500, "cpu") for n in (1, 128, 129, 256, 257)] == [1, 1, 3, 4, 5]
    assert direction.num_bands(500, 129, "cpu") == 3
    assert direction.num_bands(1024, 1024, "cuda") == 1
    assert Spectral(band=None).num_bands(1024, 1024, "cpu") == 1
