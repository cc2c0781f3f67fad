"""Answers to probes are the classifiers' own, and networks may read weights beside them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call

from meta_train import run_suite
from meta_train.suites import SUITES
from meta_train.suites.data import _classifier_zoo
from meta_train.suites.harness import Noted
from meta_train.suites.harness._examples import Examples, Raw
from meta_train.suites.harness._interface import Classifiers, Interface
from meta_train.suites.networks import Equivariant, InUnits, Probed, _consensus
from meta_train.suites.networks._probes import Neurons, Probes, hidden_parts, in_forms
from meta_train.suites.tasks._generalization import read_interface
from meta_train.tasks import Dataset
from meta_train.zoo import Zoo, save_zoo, small_cnn
from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.networks import EquivariantConfig, HeadConfig
from nfn_optim.testing import assert_invariant, random_features

MODULES = (small_cnn(nn.ReLU, padding=1), small_cnn(nn.Tanh, padding=1))
SPEC = NetworkSpec.from_module(MODULES[0])
CLASSIFIERS = Classifiers(MODULES, (1, 6, 6))
INTERFACE = Interface(SPEC, 1, classifiers=CLASSIFIERS)
HEAD = HeadConfig((8, 7))
READER = InUnits(Equivariant(EquivariantConfig(hidden=(4, 3)), HeadConfig(())))
PROBED = {"probes": Probed(None, 5, HEAD), "hnp-probes": Probed(READER, 5, HEAD)}


@pytest.fixture
def cnns(generator: torch.Generator) -> WeightSpaceFeatures:
    return random_features(SPEC, 1, generator, batch=(3,), dtype=torch.float32)


def logits_of(cnns: WeightSpaceFeatures, images: torch.Tensor) -> torch.Tensor:
    """Of every network with each activation, `(m, n, k, classes)`."""
    states = cnns.to_state_dicts()
    return torch.stack(
        [torch.stack([functional_call(module, p, (images,)) for p in states]) for module in MODULES]
    )


def test_answers_are_those_with_the_activation_that_agrees_better(
    cnns: WeightSpaceFeatures,
) -> None:
    cnns = cnns.map(lambda tensor: tensor / 4)
    probes = Probes(CLASSIFIERS, 8)
    forms = torch.stack([in_forms(x) for x in logits_of(cnns, probes.images)])
    of_class = forms[:, :, torch.arange(8), torch.arange(8)]
    assert probes.few == 2
    few = torch.stack([in_forms(x) for x in logits_of(cnns, probes.images[:2])])
    own = few[:, :, torch.arange(2), torch.arange(2), 2].mean(2).argmax(0)
    torch.testing.assert_close(
        probes(cnns).forms, of_class[own, torch.arange(3)], rtol=1e-3, atol=1e-4
    )


def test_hidden_neurons_are_followed_at_the_first_probes(cnns: WeightSpaceFeatures) -> None:
    probes = Probes(CLASSIFIERS, 8)
    hidden = probes(cnns).hidden
    assert [tuple(layer.shape) for layer in hidden] == [(3, 2, 16)] * 3
    for network, params in enumerate(cnns.to_state_dicts()):
        seen = []
        for module in MODULES:
            x = functional_call(module[:4], without_rest(params), (probes.images[:2],))
            means = x.mean((2, 3))
            seen.append(means / means.square().mean().sqrt())
        assert any(torch.allclose(hidden[1][network], x, rtol=1e-3, atol=1e-4) for x in seen)


def without_rest(params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in params.items() if name[0] in "02"}


def test_layers_behind_a_flatten_are_not_averaged() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    (part,) = hidden_parts(module)
    assert part(torch.rand(3, 1, 2, 3)).shape == (3, 4)


def test_signs_of_odd_neurons_make_no_difference(generator: torch.Generator) -> None:
    hidden = [torch.randn(3, 5, 6, generator=generator) for _ in range(2)]
    signs = torch.randn(6, generator=generator).sign()
    neurons = Neurons(5, 2, 7)
    assert neurons(hidden).shape == (3, 7)
    torch.testing.assert_close(neurons([signs * layer for layer in hidden]), neurons(hidden))
    turned = [hidden[0], signs.new_tensor([1, 1, -1, 1, 1])[:, None] * hidden[1]]
    assert not torch.allclose(neurons(turned), neurons(hidden))


@pytest.mark.parametrize("is_known", [True, False])
def test_images_are_such_that_classifiers_agree(
    is_known: bool,
    cnns: WeightSpaceFeatures,
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_consensus, "_STEPS", 200)

    def near(tensor: torch.Tensor) -> torch.Tensor:
        """Twenty networks much like the first."""
        one = tensor[:1].expand(20, *tensor.shape[1:]) / 3
        return one + 0.02 * torch.randn(one.shape, generator=generator)

    classifiers = Classifiers(MODULES[1:] if is_known else MODULES, (1, 6, 6))
    learned = cnns.map(near)
    torch.manual_seed(0)
    probes = Probes(classifiers, 20)
    before = probes(learned).forms[..., 1].mean()
    probes.prepare(Examples(learned, torch.rand(20, 1), torch.ones(20, dtype=torch.bool)))
    assert probes.images.min() >= 0
    assert probes.images.max() <= 1
    assert not probes.images.requires_grad
    assert probes(learned).forms[..., 1].mean() > 1.5 * before


def test_networks_with_known_activations_are_run_with_them(cnns: WeightSpaceFeatures) -> None:
    probes = Probes(CLASSIFIERS, 5)
    odd = torch.tensor([True, False])
    assert probes._known(odd).tolist() == [1, 0]
    turned = Probes(Classifiers(MODULES[::-1], (1, 6, 6)), 5)
    assert turned._known(odd).tolist() == [0, 1]
    assert probes._known(None) is None


def test_logits_come_as_probabilities_of_two_scales(generator: torch.Generator) -> None:
    logits = torch.randn(3, 5, 10, generator=generator, dtype=torch.float64)
    forms = in_forms(logits)
    assert forms.shape == (3, 5, 10, 4)
    torch.testing.assert_close(forms[..., 1], logits.softmax(-1))
    torch.testing.assert_close(forms[..., 0], logits.log_softmax(-1) / 5)
    louder = in_forms(7 * logits)
    torch.testing.assert_close(louder[..., 2:], forms[..., 2:])
    assert not torch.allclose(louder[..., :2], forms[..., :2], atol=0.1)
    forms = in_forms(logits * torch.tensor([1.0, 7.0, 1.0])[:, None, None])
    torch.testing.assert_close(forms[1, ..., 2:], louder[1, ..., 2:])  # each by itself


def test_networks_may_have_more_outputs_than_the_data_has_classes() -> None:
    def twelve(dataset: Dataset, activation: Callable[[], nn.Module]) -> nn.Sequential:
        return small_cnn(activation, num_classes=12, padding=1)

    size = replace(SUITES["cnn-generalization"].sizes["tiny"], architecture=twelve)
    interface = read_interface(size, "digits")
    network = PROBED["hnp-probes"].build(interface)
    assert len(interface.check(network, torch.device("cpu"))) == 1


def test_reading_the_interface_draws_nothing_from_torch_s_own_generator() -> None:
    state = torch.get_rng_state()
    read_interface(SUITES["mlp-generalization"].sizes["tiny"], "digits")
    assert torch.equal(torch.get_rng_state(), state)


def test_networks_that_overflow_have_finite_answers(cnns: WeightSpaceFeatures) -> None:
    answers = Probes(CLASSIFIERS, 5)(cnns.map(lambda tensor: 1e20 * tensor))
    assert answers.forms.isfinite().all()
    assert Neurons(1, 3, 7)(answers.hidden).isfinite().all()


@pytest.mark.parametrize("name", PROBED)
def test_the_numbering_of_neurons_makes_no_difference(
    name: str, generator: torch.Generator
) -> None:
    network = PROBED[name].build(INTERFACE).double().eval()
    assert isinstance(network, Raw)
    features = random_features(SPEC, 1, generator, batch=(3,), dtype=torch.float64)
    assert network(features).shape == (3, 1)
    assert_invariant(network, SPEC.hnp(), features, generator)


def test_weights_are_read_beside_answers_but_for_probes_alone(cnns: WeightSpaceFeatures) -> None:
    last = SPEC.vectors[-1]
    louder = cnns.like([t + 1 if name == last else t for name, t in cnns.items()])
    for name, method in PROBED.items():  # answers do not tell a shift of all logits
        torch.manual_seed(0)  # heads this small may be dead
        network = method.build(INTERFACE).eval()
        is_same = torch.allclose(network(cnns), network(louder), rtol=1e-3, atol=1e-4)
        assert is_same is (name == "probes")


@pytest.mark.usefixtures("small_suites")
def test_networks_of_a_saved_zoo_are_not_run(cnns: WeightSpaceFeatures, tmp_path: Path) -> None:
    features = cnns.like([tensor.repeat(20, *[1] * (tensor.dim() - 1)) for tensor in cnns.values()])
    save_zoo(Zoo(features, {"test_accuracy": torch.linspace(0, 1, 60)}), tmp_path)
    with pytest.raises(
        ValueError, match=r"'probes' runs .* not known\. Choose one of statnn, np, hnp"
    ):
        run_suite("cnn-generalization", methods=["probes"], data=tmp_path, size="tiny")
    result = run_suite("cnn-generalization", data=tmp_path, size="tiny")
    methods = SUITES["cnn-generalization"].sizes["tiny"].methods
    assert set(result.methods) == set(methods) - {"probes", "hnp-probes"}


@pytest.mark.usefixtures("small_suites")
def test_published_networks_are_run(
    generator: torch.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = NetworkSpec.from_module(small_cnn())
    features = random_features(spec, 1, generator, batch=(60,), dtype=torch.float32)
    zoo = Zoo(features, {"test_accuracy": torch.linspace(0, 1, 60)})
    monkeypatch.setattr(_classifier_zoo, "read_small_cnn_zoo", lambda folder, order: zoo)
    result = run_suite("cnn-generalization", methods=["hnp-probes"], data=tmp_path, size="tiny")
    assert set(result.methods) == {"hnp-probes"}
    interface = read_interface(SUITES["cnn-generalization"].sizes["tiny"], tmp_path)
    assert interface.classifiers is not None
    images = torch.rand(2, *interface.classifiers.input_shape)
    for module, activation in zip(interface.classifiers.modules, (nn.ReLU, nn.Tanh), strict=True):
        assert isinstance(module[1], activation)
        assert module[:-3](images).shape == (2, 16, 1, 1)  # one place: what it sees is the image


def test_images_are_learned_further_only_where_asked(cnns):
    for learned in (False, True):
        probes = Probes(CLASSIFIERS, 8, learned=learned)
        forms = probes(cnns).forms
        assert forms.requires_grad is learned
        if learned:
            forms.sum().backward()
            assert probes.scaled.grad is not None
            assert probes.scaled.grad.any()


@pytest.mark.parametrize("name", PROBED)
def test_noted_answers_are_read_as_those_of_networks_that_are_run(
    name: str, cnns: WeightSpaceFeatures
) -> None:
    torch.manual_seed(0)
    network = PROBED[name].build(INTERFACE).eval()
    (part,) = (each for each in network.modules() if isinstance(each, Probes))
    notes = part.note(cnns)
    assert {note.dtype for note in notes} == {torch.float16}
    written = network(cnns)
    torch.testing.assert_close(network(Noted(cnns, notes)), written, rtol=1e-3, atol=1e-3)
    others = tuple(note.roll(1, 0) for note in notes)
    assert not torch.allclose(network(Noted(cnns, others)), written, rtol=1e-3, atol=1e-3)


def test_no_answers_are_noted_to_images_that_are_learned(cnns: WeightSpaceFeatures) -> None:
    assert Probes(CLASSIFIERS, 8, learned=True).note(cnns) == ()


def test_few_probes_are_followed_through_hidden_layers() -> None:
    assert [Probes(CLASSIFIERS, count).few for count in (2, 8, 240, 960)] == [1, 2, 60, 60]
