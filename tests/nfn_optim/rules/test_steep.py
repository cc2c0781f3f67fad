"""What directions remember: along which of their inputs and outputs gradients are large."""

import pytest
import torch

from nfn_optim import NFNRule
from nfn_optim.rules import NFNRuleConfig, Spectral
from nfn_optim.rules._polar import polar_factor
from nfn_optim.rules._steep import Steep
from nfn_optim.rules.constants import STEEP, STEEP_DECAY, STEEP_EXPONENT
from nfn_optim.testing import attention_spec, chain_spec, recurrent_spec, scattered_spec

K = 3


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def nothing(n: int, m: int, k: int = K, b: int = 1) -> Steep:
    k = min(k, n, m)
    return Steep(torch.zeros(b, n, k).double(), torch.zeros(b, m, k).double())


def after(momenta, k: int = K) -> Steep:
    """Directions after some momenta `(n, m)`."""
    steep = nothing(*momenta[0].shape, k)
    for step, momentum in enumerate(momenta, start=1):
        steep = steep.followed(momentum.unsqueeze(0), torch.tensor([float(step)]))
    return steep


def with_values(*values: float, n: int, m: int, seed: int = 0) -> torch.Tensor:
    """A matrix with these singular values, and random vectors."""
    left, right = (torch.linalg.qr(drawn(x, len(values), seed=seed + x))[0] for x in (n, m))
    return left * torch.tensor(values).double() @ right.mT


def by_hand(sides, momentum, rate):
    """One step of subspace iteration after Gram and Schmidt; vectors of outputs, and of inputs."""
    unit, new = momentum / momentum.norm(), []
    for known, m in zip(sides, (unit.mT, unit), strict=True):
        order = m.norm(dim=1).argsort(descending=True)
        found: list[torch.Tensor] = []
        for j, vector in enumerate(known):
            direction = vector
            if vector.norm() == 0:
                direction = m[order[j]]
            if direction.norm() > 0:
                direction = direction / direction.norm()
            vector = (1 - rate) * vector + rate * m.mT @ (m @ direction)
            length = vector.norm()
            for other in found:
                if other.norm() > 0:
                    vector = vector - (vector @ other) * other / other.square().sum()
            found.append(vector if vector.norm() > 0.01 * length else torch.zeros_like(vector))
        new.append(found)
    return new


@pytest.mark.parametrize(("n", "m"), [(7, 12), (12, 7), (2, 9), (9, 1)])
def test_directions_are_those_of_subspace_iteration(n, m):
    sides = [[torch.zeros(x).double() for _ in range(min(K, n, m))] for x in (n, m)]
    momenta = [drawn(n, m, seed=i) for i in range(8)]
    for step, momentum in enumerate(momenta, start=1):
        sides = by_hand(sides, momentum, max(1 / step, 1 - STEEP_DECAY))
    steep = after(momenta)
    for vectors, found in zip(sides, (steep.outputs, steep.inputs), strict=True):
        torch.testing.assert_close(found[0], torch.stack(vectors, -1), rtol=1e-3, atol=1e-5)


def test_they_become_the_largest_singular_vectors_with_their_shares_of_the_squares():
    momentum = with_values(4.0, 2.0, 1.0, 0.5, 0.1, n=8, m=12)
    steep = after([momentum] * 200)
    left, values, right = torch.linalg.svd(momentum)
    shares = values.square() / values.square().sum()
    for found, vectors in ((steep.outputs[0], left), (steep.inputs[0], right.mT)):
        torch.testing.assert_close(found.norm(dim=0), shares[:K], rtol=1e-2, atol=0)
        cosines = (torch.nn.functional.normalize(found, dim=0) * vectors[:, :K]).sum(0).abs()
        torch.testing.assert_close(cosines, torch.ones(K).double(), rtol=0, atol=1e-3)


def test_all_momenta_count_alike_at_first_and_later_fade():
    both = with_values(2.0, 1.0, n=5, m=6)
    left, values, right = torch.linalg.svd(both)
    first, second = (values[i] * left[:, i : i + 1] @ right[i : i + 1] for i in (0, 1))
    shares = after([first] * 3 + [second] * 7).inputs[0].norm(dim=0)
    torch.testing.assert_close(shares, torch.tensor([0.3, 0.7, 0.0]).double(), rtol=0, atol=1e-3)
    later = after([first] * 50 + [second] * 100).inputs[0].norm(dim=0)
    left = STEEP_DECAY**100
    torch.testing.assert_close(
        later, torch.tensor([left, 1 - left, 0.0]).double(), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_neither_the_scale_nor_the_order_of_neurons_matters(scale):
    rows, columns = torch.randperm(7), torch.randperm(12)
    momenta = [drawn(7, 12, seed=i) for i in range(5)]
    steep = after(momenta)
    other = after([scale * m[rows][:, columns] for m in momenta])
    torch.testing.assert_close(other.outputs, steep.outputs[:, rows], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(other.inputs, steep.inputs[:, columns], rtol=1e-5, atol=1e-7)


def test_the_transposed_matrix_has_the_sides_exchanged():
    momenta = [drawn(7, 12, seed=i) for i in range(5)]
    steep, other = after(momenta), after([m.mT for m in momenta])
    torch.testing.assert_close((other.outputs, other.inputs), (steep.inputs, steep.outputs))
    x = drawn(2, 7, 12)
    twice = Steep(steep.outputs.expand(2, -1, -1), steep.inputs.expand(2, -1, -1))
    torch.testing.assert_close(twice.damped(x).mT, Steep(twice.inputs, twice.outputs).damped(x.mT))


def test_what_has_more_than_the_average_share_is_damped_by_the_exponent():
    momentum = with_values(4.0, 1.0, 0.01, n=8, m=12)
    steep = after([momentum] * 300)
    left, values, right = torch.linalg.svd(momentum)
    share = values.square() / values.square().sum()
    damped = steep.damped(momentum.unsqueeze(0))[0]
    factors = [
        [max(1.0, x * float(share[i])) ** -STEEP_EXPONENT for i in range(3)] for x in (8, 12)
    ]
    for i in range(3):
        expected = values[i] * factors[0][i] * factors[1][i]
        torch.testing.assert_close(left[:, i] @ damped @ right[i], expected, rtol=3e-3, atol=1e-6)


def test_the_first_step_is_the_polar_factor_and_the_next_is_smaller_along_what_was_steep():
    spec = chain_spec([12, 7])
    steepest = with_values(5.0, n=7, m=12)
    momenta = [steepest + 0.3 * drawn(7, 12, seed=i) for i in range(20)]
    rule = Spectral()
    memory = torch.zeros(rule.memory(spec, "0.weight")).double()
    left, _, right = torch.linalg.svd(steepest)
    for step, momentum in enumerate(momenta, start=1):
        slots = {"0.weight": {"step": torch.tensor(float(step)), "steep": memory}}
        before = Steep(*memory.split([7, 12], 1))
        found, new = rule(spec, {"0.weight": momentum}, slots)
        direction, memory = found["0.weight"], new["0.weight"]
        polar = polar_factor(momentum)
        expected = before.damped(polar_factor(before.damped(momentum[None])))
        torch.testing.assert_close(direction, expected[0])
        if step == 1:
            torch.testing.assert_close(direction, polar)
    assert float(left[:, 0] @ direction @ right[0]) < 0.7 * float(left[:, 0] @ polar @ right[0])


@pytest.mark.parametrize(
    "spec", [attention_spec(), recurrent_spec(), chain_spec([9, 5, 9, 5]), scattered_spec()]
)
def test_matrices_of_one_size_remember_what_they_would_alone(spec):
    rule = NFNRule(NFNRuleConfig()).double().requires_grad_(False)
    params = {n: drawn(*s, seed=1) for n, s in spec.stored.items()}
    state = rule.init(params, spec)
    alone = {n: rule.init({n: p}, spec.subset([n])) for n, p in params.items()}
    for step in range(4):
        grads = {n: drawn(*s, seed=2 + step) for n, s in spec.stored.items()}
        _, state = rule(params, grads, state)
        for n, p in params.items():
            _, alone[n] = rule({n: p}, {n: grads[n]}, alone[n])
    remembered = [n for n, slots in state.slots.items() if "steep" in slots]
    assert remembered
    for n in remembered:
        torch.testing.assert_close(state.slots[n]["steep"], alone[n].slots[n]["steep"])


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (40, 200)])
def test_without_gradients_nothing_is_remembered_or_moves(shape):
    momenta = [torch.zeros(shape).double()] * 3
    steep = after(momenta, k=STEEP)
    assert not steep.outputs.any()
    assert not steep.inputs.any()
    assert not steep.damped(momenta[0].unsqueeze(0)).any()


def test_a_matrix_of_one_gradient_remembers_one_direction():
    steep = after([drawn(6, 1) @ drawn(1, 9)] * 3)
    assert steep.inputs[0, :, 0].norm() == pytest.approx(1, rel=1e-3)
    assert not steep.inputs[0, :, 1:].any()
    assert not steep.outputs[0, :, 1:].any()


def test_a_direction_that_is_forgotten_leaves_room_for_another():
    first, second = with_values(1.0, n=6, m=9), with_values(1.0, n=6, m=9, seed=5)
    steep = after([first] * 2 + [second] * 2)
    assert (steep.inputs[0].norm(dim=0) > 0).tolist() == [True, True, False]
    assert float(steep.inputs[0].norm(dim=0).sum()) > 0.8


def test_a_number_of_each_neuron_and_direction_is_kept():
    spec = attention_spec()
    rule = NFNRule()
    slots = rule.init({n: torch.zeros(s) for n, s in spec.stored.items()}, spec).slots
    for name, slot in slots.items():
        matrices = spec.matrices(name)
        if matrices is None or name in spec.tables:
            assert "steep" not in slot
        else:
            neurons = matrices.rows + matrices.columns
            count = min(STEEP, matrices.rows, matrices.columns)
            assert slot["steep"].shape == (matrices.blocks, neurons, count)
    without = NFNRule(NFNRuleConfig(steep=0))
    slots = without.init({n: torch.zeros(s) for n, s in spec.stored.items()}, spec).slots
    assert not any("steep" in slot for slot in slots.values())
