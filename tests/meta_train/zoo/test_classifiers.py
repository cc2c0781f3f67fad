from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from meta_train.population._stacked import forward
from meta_train.tasks import Dataset, load_data, stack
from meta_train.zoo import ClassifierConfig, Zoo, small_cnn, train_classifiers
from meta_train.zoo._hyperparameters import draw, draw_checkpoints, initial
from meta_train.zoo._training import ClassifierTrainer
from nfn_optim import NetworkSpec

SHORT = ClassifierConfig(checkpoints=(0, 2), num_evaluated=50)
GOOD = ClassifierConfig(
    checkpoints=(0, 150),
    batch_size=64,
    lr=(3e-3, 1e-2),
    init_scale=(1.0, 1.5),
    dropout=(0.0, 0.1),
    optimizers=("adam",),
)


def build_cnn(activation: type[nn.Module]) -> nn.Sequential:
    return small_cnn(activation, padding=1)


def build_mlp(activation: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), activation(), nn.Linear(16, 10))


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return train_classifiers(build_mlp, load_data("digits"), 40, GOOD)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_stacked_networks_and_their_gradients_are_those_of_the_modules(
    activation: type[nn.Module], padding: int
) -> None:
    torch.manual_seed(0)
    modules = [small_cnn(activation, channels=3, padding=padding) for _ in range(2)]
    images = torch.rand(2, 5, 3, 17, 20)
    params = stack([dict(module.named_parameters()) for module in modules])
    params = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
    outputs = forward(modules[0], params, images)
    adjoint = torch.randn(outputs.shape)
    outputs.backward(adjoint)
    for index, module in enumerate(modules):
        expected = module(images[index])
        torch.testing.assert_close(outputs[index], expected)
        expected.backward(adjoint[index])
        for name, param in module.named_parameters():
            found = params[name].grad[index]
            torch.testing.assert_close(found, param.grad, rtol=1e-4, atol=1e-5)


def trainer(optimizer: str, config: ClassifierConfig) -> ClassifierTrainer:
    module = build_mlp(nn.Tanh)
    spec = NetworkSpec.from_module(module)
    return ClassifierTrainer(spec, module, optimizer, load_data("digits"), config)


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        ("adam", lambda params, lr: torch.optim.Adam(params, lr)),
        ("sgd", lambda params, lr: torch.optim.SGD(params, lr)),
        ("momentum", lambda params, lr: torch.optim.SGD(params, lr, momentum=0.9)),
    ],
)
def test_networks_of_a_chunk_are_trained_as_torch_trains_each_alone(
    optimizer: str, make: type
) -> None:
    config = ClassifierConfig(checkpoints=(5,), batch_size=8, dropout=(0.0, 0.0))
    ours = trainer(optimizer, config)
    trained, _ = ours.train(3, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    settings = draw(config, 3, generator)
    draw_checkpoints(config, 3, generator)
    start = initial(ours.spec, settings["init_scale"], generator)
    draws = list(ours._batches(settings, 5, generator))
    inputs, labels = ours.data.x_train, ours.data.y_train
    for index in range(3):
        params = {n: p[index].clone().requires_grad_() for n, p in start.items()}
        opt = make(params.values(), float(settings["lr"][index]))
        for samples, *_ in draws:
            opt.zero_grad()
            logits = functional_call(ours.module, params, (inputs[samples[index]],))
            decay = sum(p.square().sum() for p in params.values() if p.dim() > 1)
            loss = F.cross_entropy(logits, labels[samples[index]]) + settings["l2"][index] * decay
            loss.backward()
            opt.step()
        for name, param in params.items():
            torch.testing.assert_close(trained[name][index], param.detach(), rtol=1e-4, atol=1e-5)


def test_good_hyperparameters_learn(zoo: Zoo) -> None:
    trained = zoo.take(zoo.labels["step"] == 150)
    assert trained.labels["test_accuracy"].min() > 0.7
    assert (zoo.labels["test_accuracy"][zoo.labels["step"] == 0] < 0.3).all()


def test_labels_are_what_the_weights_score(zoo: Zoo) -> None:
    data = load_data("digits")
    module = build_mlp(nn.Tanh)
    tanh = zoo.take(zoo.labels["activation"] == zoo.categories["activation"].index("tanh"))
    for state, accuracy, loss in zip(
        tanh.features.to_state_dicts()[-3:],
        tanh.labels["test_accuracy"][-3:],
        tanh.labels["test_loss"][-3:],
        strict=True,
    ):
        logits = functional_call(module, state, (data.x_test,))
        torch.testing.assert_close((logits.argmax(1) == data.y_test).float().mean(), accuracy)
        torch.testing.assert_close(F.cross_entropy(logits, data.y_test), loss)


def test_every_network_appears_once_a_checkpoint(zoo: Zoo) -> None:
    assert len(zoo) == 80
    for step in GOOD.checkpoints:
        network = zoo.labels["network"][zoo.labels["step"] == step]
        assert torch.equal(network.sort().values, torch.arange(40))


def test_hyperparameters_are_drawn_from_their_ranges() -> None:
    zoo = train_classifiers(build_mlp, load_data("digits"), 300, SHORT)
    for name in ("lr", "l2", "init_scale", "dropout"):
        low, high = getattr(SHORT, name)
        assert low <= zoo.labels[name].min() < zoo.labels[name].max() <= high
        assert len(zoo.labels[name].unique()) == 300
    for name in ("activation", "optimizer"):
        assert len(zoo.labels[name].unique()) == len(zoo.categories[name])


def test_networks_join_at_some_checkpoints_of_their_own() -> None:
    config = replace(SHORT, checkpoints=(1, 2, 3, 4, 5), kept=2)
    zoo = train_classifiers(build_mlp, load_data("digits"), 30, config)
    steps = [zoo.labels["step"][zoo.labels["network"] == run].tolist() for run in range(30)]
    assert all(len(set(own)) == 2 for own in steps)
    assert {step for own in steps for step in own} == {1, 2, 3, 4, 5}
    with pytest.raises(ValueError, match="kept must be 1 to 5"):
        replace(config, kept=6)


def test_a_network_sees_its_part_of_the_training_data() -> None:
    ours = trainer("sgd", ClassifierConfig(train_fractions=(0.01,)))
    settings = draw(ours.config, 2, torch.Generator().manual_seed(0))
    for index, *_ in ours._batches(settings, 3, torch.Generator().manual_seed(1)):
        assert index.max() < int(0.01 * len(ours.data.y_train))


def test_samples_that_networks_are_measured_on_have_all_classes_alike() -> None:
    x, y = torch.zeros(100, 1, 8, 8), (torch.arange(100) % 4 > 0).long()  # 25 and 75
    config = ClassifierConfig(checkpoints=(0,), train_fractions=(1.0,), num_evaluated=60)
    zoo = train_classifiers(build_mlp, Dataset(x, y, x, y), 2, config)
    for part in ("train", "test"):  # without biases they answer 0 to what is 0
        assert zoo.labels[f"{part}_accuracy"].tolist() == [0.5, 0.5]


def test_accuracies_are_measured_on_as_many_samples_as_asked_for() -> None:
    config = replace(SHORT, num_train_evaluated=20)
    labels = train_classifiers(build_mlp, load_data("digits"), 20, config).labels
    for part, count in (("train", 20), ("test", 50)):
        hits = labels[f"{part}_accuracy"] * count
        torch.testing.assert_close(hits, hits.round())
    assert not torch.allclose(labels["test_accuracy"] * 20, (labels["test_accuracy"] * 20).round())


def test_dropout_drops_the_part_asked_for_and_keeps_the_mean() -> None:
    config = ClassifierConfig(dropout=(0.5, 0.5), batch_size=1000)
    ours = trainer("sgd", config)
    settings = draw(config, 2, torch.Generator().manual_seed(0))
    _, keep = next(ours._batches(settings, 1, torch.Generator().manual_seed(1)))
    assert keep.shape == (2, 1000, 16)
    assert set(keep.unique().tolist()) == {0.0, 2.0}
    assert keep.mean() == pytest.approx(1, abs=0.05)


def test_equal_seeds_give_equal_zoos_and_a_cache_changes_nothing(tmp_path: Path) -> None:
    data = load_data("digits")
    one = train_classifiers(build_cnn, data, 60, SHORT, seed=3, cache=tmp_path)
    two = train_classifiers(build_cnn, data, 60, SHORT, seed=3, cache=tmp_path)
    alone = train_classifiers(build_cnn, data, 60, SHORT, seed=3)
    other = train_classifiers(build_cnn, data, 60, SHORT, seed=4)
    for again in (two, alone):
        assert all(torch.equal(again.labels[name], one.labels[name]) for name in one.labels)
        assert all(torch.equal(again.features[name], one.features[name]) for name in one.features)
    assert not torch.equal(one.features["0.weight"], other.features["0.weight"])
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_networks_that_diverge_are_left_out() -> None:
    config = ClassifierConfig(
        checkpoints=(0, 30), lr=(1e-3, 1e6), activations=("relu",), optimizers=("momentum",)
    )
    zoo = train_classifiers(build_mlp, load_data("digits"), 16, config)
    assert 16 <= len(zoo) < 32
    assert all(tensor.isfinite().all() for tensor in zoo.features.values())
