"""Properties read off weights: what is learned, what is split, what is refused."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torch import nn

from meta_train.prediction import Prediction, Reader, ReaderConfig, plot_prediction, predict
from meta_train.prediction._network import Described
from meta_train.prediction._scores import calibration_error
from meta_train.prediction._split import split_networks
from meta_train.prediction._target import Target
from meta_train.zoo import Collection, Networks, Zoo, from_modules
from nfn_optim import WeightSpaceFeatures
from nfn_optim.symmetry import permute, random_permutations

SMALL = ReaderConfig(channels=4, layers=1, hidden=8, dropout=0.0)


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


@pytest.fixture(scope="module")
def scaled() -> Collection:
    """Networks of three architectures whose weights are small or large."""
    torch.manual_seed(0)
    modules, scales = [], []
    for index in range(60):
        net = mlp(*((3, 4, 2), (3, 6, 2), (3, 4, 5, 2))[index % 3])
        scale = 1.0 + index // 3 / 5
        with torch.no_grad():
            for param in net.parameters():
                param.mul_(scale)
        modules.append(net)
        scales.append(scale)
    labels = {
        "scale": scales,
        "size": ["large" if scale > 2.9 else "small" for scale in scales],
        "run": [index // 6 for index in range(60)],
        "gap": [None, *scales[1:]],
        "same": ["x"] * 60,
    }
    return from_modules(modules, labels)


def short(target: str, zoo: Collection | Zoo, **options: object) -> Prediction:
    given = {"reader": SMALL, "num_steps": 150, "seeds": 1, **options}
    return predict(target, zoo, **given)  # type: ignore[arg-type]


def test_a_number_is_read_off_networks_of_three_architectures(scaled: Collection) -> None:
    result = short("scale", scaled)
    assert result.task == "regression"
    assert result.architectures == 3
    assert result.networks == (36, 12, 12)
    assert result.mean("R2") > 0.8
    assert result.mean("MAE") < result.mean("MAE of the mean") / 2
    truth, predicted = zip(*((a.truth, a.predicted) for a in result.answers), strict=True)
    assert result.mean("R2") == pytest.approx(r2_score(truth, predicted))
    labels = dict(zip(scaled.names, scaled.labels["scale"], strict=True))
    assert all(answer.truth == pytest.approx(labels[answer.network]) for answer in result.answers)


def test_a_number_without_relation_is_not_found(scaled: Collection) -> None:
    noise = tuple(np.random.default_rng(0).normal(size=60).tolist())
    zoo = Collection(scaled.names, scaled.networks, {"noise": noise})
    assert short("noise", zoo).mean("R2") < 0.3


def test_a_class_is_read_and_told_with_its_chance(scaled: Collection) -> None:
    result = short("size", scaled)
    assert result.classes == ("large", "small")
    assert result.mean("accuracy") >= 0.75 > result.mean("majority accuracy")
    right = [answer.truth == answer.predicted for answer in result.answers]
    assert result.mean("accuracy") == pytest.approx(np.mean(right))
    assert all(0.5 <= (answer.confidence or 0) <= 1 for answer in result.answers)


def test_equal_seeds_give_equal_results(scaled: Collection) -> None:
    first, again = (short("scale", scaled, num_steps=10, seeds=[3]) for _ in range(2))
    assert first.answers == again.answers
    other = short("scale", scaled, num_steps=10, seeds=[4])
    assert {a.network for a in other.answers} != {a.network for a in first.answers}


def test_groups_are_not_split(scaled: Collection) -> None:
    target = Target.of("scale", scaled.labels["scale"], None)
    runs = torch.tensor(scaled.labels["run"])
    split = split_networks(target, scaled.labels["run"], (0.2, 0.2), 0)
    parts = [set(runs[part].tolist()) for part in (split.train, split.validation, split.test)]
    assert set.union(*parts) == set(range(10))
    assert sum(map(len, parts)) == 10
    assert short("scale", scaled, group="run", num_steps=5).networks == (36, 12, 12)


def test_classes_are_in_every_part() -> None:
    target = Target("x", torch.tensor([0] * 40 + [1] * 10), ("a", "b"))
    split = split_networks(target, None, (0.2, 0.2), 0)
    for part, count in ((split.train, 6), (split.validation, 2), (split.test, 2)):
        assert int(target.values[part].sum()) == count


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"target": "loss"}, "no label 'loss'.*scale, size"),
        ({"target": "gap"}, "'0' has no value of gap.*skip_bad"),
        ({"target": "same"}, "all 60 networks have same = 'x'"),
        ({"target": "size", "task": "regression"}, "size has 'small', which is no number"),
        ({"target": "scale", "group": "same"}, "1 groups of 60 networks are too few"),
        ({"target": "scale", "group": "none"}, "no label 'none'"),
        ({"target": "size", "group": "size"}, "too few|left for training"),
        ({"target": "scale", "seeds": 0}, "seeds must be one"),
        ({"target": "scale", "test_part": 0.9}, "test_part"),
    ],
)
def test_what_cannot_be_predicted_is_refused(
    scaled: Collection, options: dict[str, str], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        predict(zoo=scaled, **options)  # type: ignore[arg-type]


def test_networks_without_the_label_are_skipped_if_asked(scaled: Collection) -> None:
    result = short("gap", scaled, num_steps=5, skip_bad=True)
    assert sum(result.networks) == 59
    assert result.skipped == {"0": "has no value of gap"}


def test_collections_and_predictions_say_in_a_line_what_they_are(scaled: Collection) -> None:
    found = short("scale", scaled, num_steps=5)
    assert repr(scaled).startswith("Collection(60 networks of 3 architectures; labels 'scale', ")
    assert repr(found).startswith(f"Prediction('scale', regression: R2 {found.mean('R2'):.3g} ± ")
    assert repr(found).endswith("12 networks for testing, 36 for training and 12 for validation)")
    assert all(len(repr(x)) < 300 for x in (scaled, found))


def test_a_zoo_is_a_collection(scaled: Collection) -> None:
    labels = {"y": torch.arange(20) % 2, "x": torch.rand(20)}
    zoo = Zoo(scaled.networks.parts[0], labels, {"y": ("even", "odd")})
    assert short("y", zoo, num_steps=5).classes == ("even", "odd")
    assert short("x", zoo, num_steps=5).task == "regression"


@pytest.mark.parametrize(
    ("column", "task"),
    [
        ([0, 1] * 10, "classification"),
        (list(range(20)), "regression"),
        ([0.5, 1.0] * 10, "regression"),
        (["a", "b"] * 10, "classification"),
    ],
)
def test_values_tell_classes_from_numbers(column: list[float], task: str) -> None:
    assert bool(Target.of("x", column, None).classes) == (task == "classification")


def test_the_reader_ignores_the_numbering_of_neurons(scaled: Collection) -> None:
    torch.manual_seed(0)
    reader = Reader(SMALL, 2).eval()
    generator = torch.Generator().manual_seed(0)
    parts = tuple(
        permute(features, random_permutations(features.spec.hnp(), generator))
        for features in scaled.networks.parts
    )
    renumbered = Networks(parts, scaled.networks.rows)
    assert not torch.equal(parts[0]["0.weight"], scaled.networks.parts[0]["0.weight"])
    assert torch.allclose(reader(renumbered.pack()), reader(scaled.networks.pack()), atol=1e-5)


def test_the_reader_sees_which_weights_are_whose() -> None:
    def swapped(features: WeightSpaceFeatures) -> WeightSpaceFeatures:
        return features.like([t.flip(1) if n == "0.weight" else t for n, t in features.items()])

    torch.manual_seed(0)
    features = WeightSpaceFeatures.from_modules([mlp(3, 4, 2) for _ in range(5)])
    reader = Reader(SMALL, 2).eval()
    rows = (torch.arange(5),)
    told = [reader(Networks((each,), rows).pack()) for each in (features, swapped(features))]
    assert not torch.allclose(*told, atol=1e-4)


def test_descriptions_are_finite_for_empty_weights() -> None:
    features = WeightSpaceFeatures.from_modules([mlp(3, 4, 2)]).map(torch.zeros_like)
    assert all(
        tensor.isfinite().all()
        for tensor in Described()(Networks((features,), (torch.arange(1),)).pack()).values()
    )


def test_calibration_error_is_the_gap_of_confidence() -> None:
    confidence = np.full(100, 0.95)
    assert calibration_error(confidence, np.arange(100) < 95) == pytest.approx(0)
    assert calibration_error(confidence, np.arange(100) < 45) == pytest.approx(0.5)


@pytest.mark.parametrize("target", ["scale", "size"])
def test_pictures_and_json_have_all(scaled: Collection, target: str, tmp_path: Path) -> None:
    result = short(target, scaled, num_steps=5, seeds=2)
    path = tmp_path / "new" / "picture.png"
    plot_prediction(result, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    content = result.to_json()
    assert content["task"] == result.task
    assert len(content["answers"]) == 24
    assert all(len(values) == 2 for values in content["scores"].values())
