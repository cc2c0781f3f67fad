import pytest
import torch

from meta_train.tasks import DigitsCNNs, DigitsMLPs, Mixture, TeacherMLPs, default_family, stack

FAMILIES = [DigitsMLPs(), DigitsCNNs(), TeacherMLPs(), default_family]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("seed", range(4))
def test_sampled_tasks_are_deterministic_and_well_formed(family, seed):
    task, twin = family.sample(seeded(seed)), family.sample(seeded(seed))
    params, batch = task.init(seeded(0)), task.batch(seeded(1))
    assert set(params) == set(task.spec.names)
    torch.testing.assert_close(params, twin.init(seeded(0)), rtol=0, atol=0)
    torch.testing.assert_close(batch, twin.batch(seeded(1)), rtol=0, atol=0)
    loss = task.loss(params, batch)
    assert loss.shape == ()
    assert loss.isfinite()
    stacked = stack([task.batch(seeded(s)) for s in range(2)])
    assert stacked[0].shape[:1] == (2,)


def test_mlp_families_vary_depth_width_and_input_size():
    for family in (DigitsMLPs(), TeacherMLPs()):
        specs = [family.sample(seeded(seed)).spec for seed in range(60)]
        assert {len(spec.weights) for spec in specs} == {2, 3, 4, 5}
        assert len({spec.sizes["in"] for spec in specs}) > 5
        widths = {
            size for spec in specs for label, size in spec.sizes.items() if label not in spec.io
        }
        assert min(widths) >= 8
        assert max(widths) <= 128
        assert len(widths) > 30
        assert max(spec.num_entries for spec in specs) < 50_000


def test_mixture_draws_from_every_family_by_weight():
    mixture = Mixture(((DigitsMLPs(), 1.0), (DigitsCNNs(), 1.0), (TeacherMLPs(), 0.0)))
    kinds = [len(mixture.sample(seeded(s)).spec.shapes["0.weight"]) for s in range(20)]
    assert set(kinds) == {2, 4}
