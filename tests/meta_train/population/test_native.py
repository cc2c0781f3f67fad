"""Native training takes the steps that torch takes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, log2, prod
from typing import TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from meta_train.population._engine import IndexedBatch, Population, outputs_of
from meta_train.population._objective import Classification, Objective, Regression
from meta_train.population._program import read
from meta_train.population._rows import as_params
from meta_train.population._stacked import hidden_channels
from meta_train.tasks import load_data
from meta_train.zoo import ClassifierConfig, FieldConfig, siren, small_cnn, train_classifiers
from nfn_optim import AdamRule, NetworkSpec, SGDRule, UpdateRule
from nfn_optim.native import Library
from nfn_optim.native import population as native

pytestmark = pytest.mark.usefixtures("native_population")

N, BATCH, SAMPLES = 3, 5, 11
Result = TypeVar("Result")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the native functions that run."""
    names: list[str] = []

    def spy(name: str) -> None:
        original = getattr(native, name)

        def call(*args: object) -> object:
            names.append(name)
            return original(*args)

        monkeypatch.setattr(native, name, call)

    for name in ("train", "evaluate"):
        spy(name)
    return names


def by_torch(call: Callable[[], Result]) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "can_evaluate", lambda *numbers: False)
        return call()


def powers(spec: NetworkSpec, generator: torch.Generator, n: int = N) -> Tensor:
    """Networks `(n, d)` whose weights are powers of two of one size a layer, or zero.

    On pixels of a coarse grid their sums are exact, so that both ways see the same side of a ReLU.
    """
    rows = []
    for name, shape in spec.stored.items():
        size = 2.0 ** -ceil(log2(prod(shape[1:])) / 2) if name in spec.weights else 0.125
        rows.append(size * torch.randint(-1, 2, (n, prod(shape)), generator=generator))
    return torch.cat(rows, 1)


def normal(spec: NetworkSpec, generator: torch.Generator, n: int = N) -> Tensor:
    """Networks `(n, d)` of ordinary size."""
    rows = []
    for name, shape in spec.stored.items():
        size = prod(shape[1:]) ** -0.5 if name in spec.weights else 0.1
        rows.append(size * torch.randn(n, prod(shape), generator=generator))
    return torch.cat(rows, 1)


def classification(
    module: nn.Sequential, shape: Sequence[int], generator: torch.Generator, **options: Tensor
) -> Classification:
    """Random classes of images on a coarse grid."""
    outputs = NetworkSpec.from_module(module).stored[list(module.state_dict())[-1]][0]
    return Classification(
        module=module,
        spec=NetworkSpec.from_module(module),
        inputs=torch.randint(5, (SAMPLES, *shape), generator=generator) / 4,
        targets=torch.randint(outputs, (SAMPLES,), generator=generator),
        **options,  # type: ignore[arg-type]
    )


def regression(
    hidden: Sequence[int],
    coordinates: int,
    values: int,
    generator: torch.Generator,
    has_own: bool = False,
    omega: float = 30.0,
) -> Regression:
    module = siren(coordinates, values, FieldConfig(hidden=tuple(hidden), omega=omega))
    lead = (N, SAMPLES) if has_own else (SAMPLES,)
    return Regression(
        module=module,
        spec=NetworkSpec.from_module(module),
        inputs=2 * torch.rand(*lead, coordinates, generator=generator) - 1,
        targets=torch.randn(N, SAMPLES, values, generator=generator),
    )


def draw(
    problem: Objective, steps: int, generator: torch.Generator, dropout: float = 0.0
) -> Iterator[IndexedBatch]:
    channels = hidden_channels(problem.module) if dropout else []
    for _ in range(steps):
        noise = [torch.rand(N, BATCH, c, generator=generator) for c in channels]
        keep = [(one >= dropout) / (1 - dropout) for one in noise]
        yield torch.randint(SAMPLES, (N, BATCH), generator=generator), *keep


def both_ways(
    problem: Objective,
    rule: UpdateRule,
    start: Tensor,
    draws: Sequence[IndexedBatch],
    lr: Callable[[int], float] = lambda k: 1.0,
) -> tuple[Population, Population]:
    """Where native code and where torch arrives."""
    population = Population.start(problem.spec, rule, as_params(problem.spec, start))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Population, "_unroll", None)  # whoever calls it fails
        ours = population.take_steps(problem, draws, lr)
    return ours, by_torch(lambda: population.take_steps(problem, draws, lr))


def assert_close(
    ours: Population, theirs: Population, start: Tensor, tolerance: float = 2e-5
) -> None:
    """Every network's error is small for the way it went, and the rule's state is the same."""
    moved = (theirs.weights - start).norm(dim=1)
    error = (ours.weights - theirs.weights).norm(dim=1)
    assert (error <= tolerance * moved + 1e-6).all(), (error, moved)
    for name, slot in theirs.state.slots["flat"].items():
        error = (ours.state.slots["flat"][name] - slot).norm()
        assert error <= tolerance * slot.norm() + 1e-7, (name, error, slot.norm())


@st.composite
def classifiers(draw: st.DrawFn) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """Layers of all kinds that native code has, and the shape of an image."""
    channels = [1, 2, 3, 5, 8, 16, 17, 33]
    shape = draw(st.tuples(st.sampled_from([1, 2, 3, 17]), st.integers(3, 9), st.integers(3, 9)))
    activation = draw(st.sampled_from([nn.ReLU, nn.Tanh]))
    layers: list[nn.Module] = []
    size = shape
    for out in draw(st.lists(st.sampled_from(channels), max_size=3)):
        stride, padding = draw(st.integers(1, 3)), draw(st.integers(0, 2))
        kernel = min(draw(st.integers(1, 3)), min(size[1:]) + 2 * padding)
        layers.append(nn.Conv2d(size[0], out, kernel, stride, padding))
        layers += [activation()] if draw(st.booleans()) else []
        size = (out, *((n + 2 * padding - kernel) // stride + 1 for n in size[1:]))
    if layers and draw(st.booleans()):
        layers.append(nn.AdaptiveAvgPool2d(1))
        size, activation = (size[0], 1, 1), nn.Tanh  # means are not exact, see `powers`
    widths = [prod(size), *draw(st.lists(st.sampled_from(channels), max_size=2))]
    layers.append(nn.Flatten())
    if len(layers) > 1 and isinstance(layers[-2], nn.Conv2d) and draw(st.booleans()):
        layers.append(activation())
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], draw(st.sampled_from([2, 10, 19])))), shape


@given(classifiers(), st.sampled_from([0.0, 0.5]), st.booleans(), st.booleans())
@settings(max_examples=50, deadline=None)
def test_any_classifier_takes_the_same_step(
    network: tuple[nn.Sequential, tuple[int, int, int]], dropout: float, l2: bool, masked: bool
) -> None:
    module, shape = network
    generator = torch.Generator().manual_seed(0)
    problem = classification(module, shape, generator)
    start = powers(problem.spec, generator)
    problem = replace(
        problem,
        l2=torch.tensor([0.5, 0.0, 0.25]) if l2 else None,
        masks=torch.randint(3, start.shape, generator=generator).float() if masked else None,
    )
    draws = list(draw(problem, 1, generator, dropout))
    assert_close(*both_ways(problem, SGDRule(1.0), start, draws), start)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (small_cnn(), (1, 28, 28)),
        (small_cnn(nn.Tanh, channels=3, padding=1), (3, 9, 12)),
        (small_cnn(padding=1), (1, 8, 8)),
        (
            nn.Sequential(
                nn.Conv2d(2, 5, 2, stride=3),
                nn.ReLU(),
                nn.Conv2d(5, 33, 3, padding=1),
                nn.Flatten(),
                nn.Tanh(),
                nn.Linear(33 * 3 * 2, 17),
                nn.ReLU(),
                nn.Linear(17, 4),
            ),
            (2, 8, 7),
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 5 * 4, 9), nn.Linear(9, 2)), (3, 5, 4)),
        (nn.Sequential(nn.Conv2d(3, 6, 4), nn.Flatten()), (3, 4, 4)),
        (nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 6, 4)),
        (nn.Sequential(nn.Linear(21, 7), nn.Tanh(), nn.Linear(7, 1)), (21,)),
        (nn.Sequential(nn.Flatten(), nn.Linear(21, 7), nn.Flatten(), nn.Linear(7, 2)), (21,)),
        (nn.Sequential(nn.Flatten(), nn.Linear(21, 5)), (7, 3)),
    ],
    ids=[
        *("no border", "border", "small", "boundary", "linear", "full", "pooled"),
        *("vectors", "flattened twice", "matrices"),
    ],
)
def test_these_classifiers_take_the_same_step(
    module: nn.Sequential, shape: tuple[int, ...], generator: torch.Generator
) -> None:
    problem = classification(module, shape, generator)
    start, (index,) = powers(problem.spec, generator), *draw(problem, 1, generator)
    rule, draws = SGDRule(torch.tensor([1.0, 0.5, 2.0])), [(index,)]
    ours, theirs = both_ways(problem, rule, start, draws)
    assert_close(ours, theirs, start)
    params = {n: t[0].requires_grad_() for n, t in as_params(problem.spec, start).items()}
    logits = functional_call(module, params, (problem.inputs[index[0]],))
    loss = nn.functional.cross_entropy(logits, problem.targets[index[0]])
    for (name, param), grad in zip(
        params.items(), torch.autograd.grad(loss, list(params.values())), strict=True
    ):
        torch.testing.assert_close(param - ours.params[name][0], grad, rtol=1e-5, atol=2e-6)


@given(
    st.lists(st.sampled_from([1, 5, 16, 17, 33]), min_size=1, max_size=3),
    st.integers(1, 3),
    st.sampled_from([1, 2, 3, 17]),
    st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_any_siren_takes_the_same_step(
    hidden: list[int], coordinates: int, values: int, has_own: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    problem = regression(hidden, coordinates, values, generator, has_own, omega=2.0)
    start = normal(problem.spec, generator)
    assert_close(*both_ways(problem, SGDRule(1.0), start, list(draw(problem, 1, generator))), start)


RULES = {
    "sgd": SGDRule(torch.tensor([0.05, 0.02, 0.01])),
    "momentum": SGDRule(torch.tensor([0.02, 0.01, 0.005]), momentum=0.9),
    "adam": AdamRule(torch.tensor([1e-2, 2e-3, 5e-3])),
    "adam of others": AdamRule(4e-3, betas=(0.8, 0.99), eps=1e-3),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_any_rule_takes_the_same_steps(
    rule: UpdateRule, kind: str, generator: torch.Generator
) -> None:
    problem: Objective = regression([9, 8], 2, 1, generator, omega=3.0)
    if kind == "classification":
        problem = classification(small_cnn(nn.Tanh, padding=1), (1, 8, 8), generator)
        problem = replace(problem, l2=torch.tensor([1e-2, 1e-3, 0.0]))
    start = normal(problem.spec, generator)
    draws = list(draw(problem, 20, generator))
    ours, theirs = both_ways(problem, rule, start, draws, lambda k: 1 - k / 20)
    assert_close(ours, theirs, start, 1e-3)
    assert (ours.weights - start).norm(dim=1).min() > 1e-2


def test_steps_beyond_one_call_go_on_where_the_last_ended(generator: torch.Generator) -> None:
    problem = regression([8], 2, 1, generator, omega=1.0)
    start = normal(problem.spec, generator)
    draws = list(draw(problem, 150, generator))
    rule = AdamRule(1e-3, eps=1e-3)
    ours, theirs = both_ways(problem, rule, start, draws, lambda k: 0.98**k)
    assert_close(ours, theirs, start, 1e-3)
    assert ours.state.slots["flat"]["step"] == 150
    twice = Population.start(problem.spec, rule, as_params(problem.spec, start))
    twice = twice.take_steps(problem, draws[:70], lambda k: 0.98**k)
    twice = twice.take_steps(problem, draws[70:], lambda k: 0.98 ** (k + 70))
    assert torch.equal(twice.weights, ours.weights)


def test_training_changes_no_tensor_it_was_given(generator: torch.Generator) -> None:
    problem = regression([8], 2, 1, generator)
    rule, params = AdamRule(1e-2), as_params(problem.spec, normal(problem.spec, generator))
    population = Population.start(problem.spec, rule, params)
    tensors = [population.weights, *population.state.slots["flat"].values()]
    before = [tensor.clone() for tensor in tensors]
    population.take_steps(problem, draw(problem, 3, generator))
    assert all(map(torch.equal, tensors, before))


def test_masked_weights_stay_zero_and_the_others_take_the_same_steps(
    generator: torch.Generator,
) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 17), nn.ReLU(), nn.Linear(17, 10))
    problem = classification(module, (1, 8, 8), generator)
    start = powers(problem.spec, generator)
    problem = replace(problem, masks=(torch.rand(start.shape, generator=generator) < 0.3).float())
    start = start * problem.masks
    ours, theirs = both_ways(problem, AdamRule(1e-3), start, list(draw(problem, 5, generator)))
    assert_close(ours, theirs, start, 1e-3)
    assert ours.weights[problem.masks == 0].eq(0).all()


def test_any_kind_of_tensor_is_read_as_torch_reads_it(generator: torch.Generator) -> None:
    """Other dtypes and strides: of masks, coefficients, samples, draws, weights and the rule."""
    problem = classification(small_cnn(padding=1), (1, 8, 8), generator)
    start = powers(problem.spec, generator)
    draws = list(draw(problem, 2, generator, 0.5))
    masks = torch.randint(2, start.shape, generator=generator)
    plain = replace(problem, l2=torch.tensor([0.5, 0.25, 0.0]), masks=masks.float())
    odd = replace(
        problem,
        inputs=problem.inputs.mT.contiguous().mT,
        targets=torch.stack([problem.targets] * 2, 1)[:, 0],
        l2=torch.tensor([0.5, 0.25, 0.0], dtype=torch.float64),
        masks=masks.bool().mT.contiguous().mT,
    )
    population = Population.start(
        problem.spec, AdamRule(torch.tensor([0.1] * N)), as_params(problem.spec, start)
    )
    transposed = replace(
        population,
        rule=AdamRule(torch.tensor([0.1] * 2 * N, dtype=torch.float64)[::2]),
        weights=start.mT.contiguous().mT.requires_grad_(),
    )
    expected = population.take_steps(plain, draws).weights
    odd_draws = [(index.int(), *[k.double() for k in keep]) for index, *keep in draws]
    found = transposed.take_steps(odd, odd_draws, lambda k: 1).weights
    assert torch.equal(found, expected)
    assert not found.requires_grad


def test_the_default_dtype_does_not_matter(generator: torch.Generator) -> None:
    problem = regression([8], 2, 1, generator)
    start, draws = normal(problem.spec, generator), list(draw(problem, 2, generator))
    population = Population.start(
        problem.spec, SGDRule(torch.tensor(0.1)), as_params(problem.spec, start)
    )
    expected = population.take_steps(problem, draws).weights
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(population.take_steps(problem, draws).weights, expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_batches_may_differ_in_size_and_dropout(generator: torch.Generator) -> None:
    problem = classification(small_cnn(padding=1), (1, 8, 8), generator)
    start, rule = powers(problem.spec, generator), SGDRule(0.01)
    draws = [
        *draw(problem, 2, generator),
        *[(index[:, :3],) for (index,) in draw(problem, 2, generator)],
        *draw(problem, 1, generator, 0.5),
    ]
    ours, theirs = both_ways(problem, rule, start, draws, lambda k: 1 / (k + 1))
    assert_close(ours, theirs, start, 1e-4)


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 100])
@pytest.mark.parametrize("networks", [0, 1, 4])
def test_any_number_of_samples_is_evaluated(
    count: int, networks: int, generator: torch.Generator, taken: list[str]
) -> None:
    module = small_cnn(nn.Tanh, channels=2, num_classes=7, padding=1)
    spec = NetworkSpec.from_module(module)
    weights = normal(spec, generator, networks)
    images = torch.rand(count, 2, 9, 6, generator=generator)
    found = outputs_of(module, spec, weights, images)
    assert taken == ["evaluate"]
    expected = [
        functional_call(module, {n: t[row] for n, t in as_params(spec, weights).items()}, images)
        for row in range(networks)
    ]
    assert found.shape == (networks, count, 7)
    torch.testing.assert_close(list(found), expected, rtol=1e-4, atol=1e-5)


def input_gradients(module: nn.Sequential, weights: Tensor, images: Tensor) -> Tensor:
    """Of a random sum of all outputs, with respect to images that all networks see."""
    images = images.clone().requires_grad_()
    outputs = outputs_of(module, NetworkSpec.from_module(module), weights, images)
    factors = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))
    (outputs * factors).sum().backward()
    assert images.grad is not None
    return images.grad


@given(kind=classifiers(), count=st.sampled_from([1, 5, 33]), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=40)
def test_images_that_all_networks_see_get_torch_s_gradients(
    kind: tuple[nn.Sequential, tuple[int, int, int]], count: int, seed: int
) -> None:
    module, shape = kind
    generator = torch.Generator().manual_seed(seed)
    weights = powers(NetworkSpec.from_module(module), generator)
    images = torch.randint(5, (count, *shape), generator=generator) / 4
    ours = input_gradients(module, weights, images)
    theirs = by_torch(lambda: input_gradients(module, weights, images))
    assert (ours - theirs).norm() <= 2e-5 * theirs.norm() + 1e-6


def test_gradients_reach_places_but_not_weights(generator: torch.Generator) -> None:
    problem = regression([8, 17], 2, 3, generator, omega=3.0)
    weights = normal(problem.spec, generator)
    places = 2 * torch.rand(40, 2, generator=generator) - 1
    ours = input_gradients(problem.module, weights, places)
    rows = as_params(problem.spec, weights)
    networks = [{name: t[row] for name, t in rows.items()} for row in range(N)]
    leaf = places.clone().requires_grad_()
    outputs = torch.stack([functional_call(problem.module, p, (leaf,)) for p in networks])
    factors = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))
    (theirs,) = torch.autograd.grad((outputs * factors).sum(), leaf)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    evaluated = outputs_of(problem.module, problem.spec, weights, leaf)
    assert evaluated.requires_grad
    with torch.no_grad():
        assert not outputs_of(problem.module, problem.spec, weights, leaf).requires_grad


def test_gradients_of_weights_are_left_to_torch(
    generator: torch.Generator, taken: list[str]
) -> None:
    module = small_cnn(nn.Tanh, padding=1)
    spec = NetworkSpec.from_module(module)
    weights = normal(spec, generator).requires_grad_()
    outputs_of(module, spec, weights, torch.rand(2, 1, 8, 8, generator=generator)).sum().backward()
    assert not taken
    assert weights.grad is not None
    assert weights.grad.count_nonzero() > 0


def test_second_derivatives_are_refused(generator: torch.Generator) -> None:
    module = small_cnn(nn.Tanh, padding=1)
    spec = NetworkSpec.from_module(module)
    images = torch.rand(2, 1, 8, 8, generator=generator).requires_grad_()
    outputs = outputs_of(module, spec, normal(spec, generator), images)
    with pytest.raises(RuntimeError, match=r"no second derivatives.*NFN_NATIVE=0"):
        torch.autograd.grad(outputs.sum(), images, create_graph=True)


def test_threads_share_the_work_and_change_nothing(generator: torch.Generator) -> None:
    problem = classification(small_cnn(padding=1), (1, 8, 8), generator)
    start = normal(problem.spec, generator)
    population = Population.start(problem.spec, AdamRule(0.01), as_params(problem.spec, start))
    draws, threads, results = list(draw(problem, 5, generator, 0.5)), torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            weights = population.take_steps(problem, draws).weights
            results.append(
                (weights, outputs_of(problem.module, problem.spec, weights, problem.inputs))
            )
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


UNREADABLE = {
    "activation first": ([nn.Tanh(), nn.Flatten(), nn.Linear(36, 3)], (1, 6, 6)),
    "two activations": (
        [nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.ReLU(), nn.Linear(5, 3)],
        (1, 6, 6),
    ),
    "two means": (
        [nn.Conv2d(1, 3, 2), *[nn.AdaptiveAvgPool2d(1) for _ in range(2)], nn.Flatten()],
        (1, 6, 6),
    ),
    "activation after the mean": (
        [nn.Conv2d(1, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Tanh(), nn.Flatten()],
        (1, 6, 6),
    ),
    "border around the mean": (
        [
            nn.Conv2d(1, 3, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Flatten(),
        ],
        (1, 6, 6),
    ),
    "a map at the end": ([nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Flatten()], (1, 6, 6)),
}


@pytest.mark.parametrize(("layers", "shape"), UNREADABLE.values(), ids=UNREADABLE)
def test_other_networks_are_trained_and_evaluated_by_torch(
    layers: list[nn.Module], shape: tuple[int, ...], generator: torch.Generator, taken: list[str]
) -> None:
    module = nn.Sequential(*layers)
    problem = classification(module, shape, generator)
    start = normal(problem.spec, generator)
    population = Population.start(problem.spec, SGDRule(1.0), as_params(problem.spec, start))
    (index,) = next(draw(problem, 1, generator))
    trained = population.take_steps(problem, [(index,)])
    outputs = outputs_of(module, problem.spec, start, problem.inputs)
    assert not taken
    params = {n: t[0].requires_grad_() for n, t in as_params(problem.spec, start).items()}
    expected = functional_call(module, params, problem.inputs)
    torch.testing.assert_close(outputs[0], expected)
    loss = nn.functional.cross_entropy(expected[index[0]], problem.targets[index[0]])
    for name, grad in zip(params, torch.autograd.grad(loss, list(params.values())), strict=True):
        torch.testing.assert_close(params[name] - trained.params[name][0], grad)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=False)),
        nn.Sequential(nn.Flatten(), nn.Linear(35, 3)),
        nn.Sequential(nn.Conv2d(2, 3, 6)),
        nn.Sequential(nn.Conv2d(1, 3, 7)),
        nn.Sequential(nn.Conv2d(1, 3, (6, 5))),
        nn.Sequential(nn.Conv2d(1, 3, 3, dilation=2), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, padding_mode="circular")),
        nn.Sequential(nn.Flatten()),
        nn.Sequential(),
    ],
    ids=str,
)
def test_no_program_reads_layers_that_it_does_not_know(module: nn.Sequential) -> None:
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    spec = NetworkSpec({name: (None,) * len(shape) for name, shape in shapes.items()}, shapes)
    assert read(module, spec, (1, 6, 6)) is None


def test_no_program_reads_other_inputs_or_parameters() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    spec = NetworkSpec.from_module(module)
    assert read(module, spec, (1, 6, 6)) is not None
    assert read(module, spec, (1, 6, 2, 3)) is None
    other = NetworkSpec.from_module(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)))
    assert read(module, other, (1, 6, 6)) is None


class Lookahead(SGDRule):
    """A rule of one's own."""


@pytest.mark.parametrize(
    "rule",
    [
        SGDRule(0.1, weight_decay=0.1),
        AdamRule(0.1, weight_decay=torch.tensor([0.0, 0.1, 0.0])),
        SGDRule(0.1, momentum=torch.tensor([0.0, 0.5, 0.9])),
        Lookahead(0.1),
    ],
    ids=["sgd decays", "adam decays", "momentum of each", "of one's own"],
)
def test_other_rules_take_the_other_way(
    rule: UpdateRule, generator: torch.Generator, taken: list[str]
) -> None:
    problem = regression([8], 2, 1, generator)
    start, draws = normal(problem.spec, generator), list(draw(problem, 2, generator))
    population = Population.start(problem.spec, rule, as_params(problem.spec, start))
    trained = population.take_steps(problem, draws)
    assert not taken
    assert not torch.equal(trained.weights, start)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_types_take_the_other_way(
    dtype: torch.dtype, generator: torch.Generator, taken: list[str]
) -> None:
    problem = classification(small_cnn(padding=1), (1, 8, 8), generator)
    problem = replace(problem, inputs=problem.inputs.to(dtype))
    start = powers(problem.spec, generator).to(dtype)
    rule = SGDRule(torch.tensor(0.1, dtype=dtype)).to(dtype)
    population = Population.start(problem.spec, rule, as_params(problem.spec, start))
    weights = population.take_steps(problem, draw(problem, 1, generator)).weights
    outputs = outputs_of(problem.module, problem.spec, weights, problem.inputs)
    assert not taken
    assert weights.dtype == outputs.dtype == dtype


def test_a_loss_of_ones_own_takes_the_other_way(
    generator: torch.Generator, taken: list[str]
) -> None:
    class Sum(Objective):
        @property
        def sample_shape(self) -> torch.Size:
            return self.inputs.shape[1:]

        def compute(self, weights: Tensor, index: Tensor, *keep: Tensor) -> tuple[Tensor, Tensor]:
            return weights.sum(1), torch.ones_like(weights)

    plain = regression([8], 2, 1, generator)
    problem = Sum(module=plain.module, spec=plain.spec, inputs=plain.inputs, targets=plain.targets)
    start = normal(problem.spec, generator)
    population = Population.start(problem.spec, SGDRule(1.0), as_params(problem.spec, start))
    trained = population.take_steps(problem, draw(problem, 1, generator))
    assert not taken
    torch.testing.assert_close(trained.weights, start - 1)


def test_outputs_with_a_gradient_take_the_other_way(
    generator: torch.Generator, taken: list[str]
) -> None:
    problem = classification(small_cnn(padding=1), (1, 8, 8), generator)
    weights = powers(problem.spec, generator).requires_grad_()
    outputs = outputs_of(problem.module, problem.spec, weights, problem.inputs)
    outputs.sum().backward()
    assert not taken
    assert weights.grad is not None
    assert weights.grad.abs().sum() > 0


def test_samples_and_classes_that_there_are_not_are_refused(generator: torch.Generator) -> None:
    problem = classification(small_cnn(padding=1), (1, 8, 8), generator)
    start = powers(problem.spec, generator)
    population = Population.start(problem.spec, SGDRule(1.0), as_params(problem.spec, start))
    for wrong in (-1, SAMPLES):
        with pytest.raises(IndexError, match=f"there are {SAMPLES} samples; got {wrong}"):
            population.take_steps(problem, [(torch.full((N, BATCH), wrong),)])
    twelve = replace(problem, targets=torch.full((SAMPLES,), 12))
    with pytest.raises(IndexError, match="there are 10 classes; got 12"):
        population.take_steps(twelve, draw(problem, 1, generator))
    index, *keep = next(draw(problem, 1, generator, 0.5))
    with pytest.raises(ValueError, match=r"dropout factors.*\(3, 1, 160\).*\(3, 1, 240\)"):
        population.take_steps(problem, [(index, *keep[:2])])
    with pytest.raises(ValueError, match=r"weights: .*\(3, 7\).* expects .*\(3, \d\d+\)"):
        outputs_of(problem.module, problem.spec, start[:, :7], problem.inputs)
    points = regression([8], 2, 1, generator)
    start = normal(points.spec, generator)
    population = Population.start(points.spec, SGDRule(1.0), as_params(points.spec, start))
    with pytest.raises(ValueError, match=r"targets: .*\(3, 11, 2\).* expects .*\(3, 11, 1\)"):
        population.take_steps(
            replace(points, targets=points.targets.expand(-1, -1, 2)), draw(points, 1, generator)
        )


def test_objectives_whose_parts_do_not_fit_are_refused(generator: torch.Generator) -> None:
    images = classification(small_cnn(padding=1), (1, 8, 8), generator)
    for targets, message in (
        (images.targets.float(), "torch.float32. Pass one class, int64"),
        (images.targets[1:], f"for each of {SAMPLES} images"),
        (images.targets - 20, "classes count from 0; got -"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(images, targets=targets)
    points = regression([8], 2, 1, generator)
    for wrong in (points.targets.double(), points.targets[0], points.targets[:, 1:]):
        with pytest.raises(ValueError, match="do not fit targets"):
            replace(points, targets=wrong)


def survivors(lr: float, l2: float) -> set[tuple[int, int]]:
    """Networks and steps of a zoo."""
    config = ClassifierConfig(
        checkpoints=(0, 10),
        lr=(lr, 2 * lr),
        l2=(l2, l2),
        optimizers=("sgd", "momentum"),
        batch_size=16,
        num_evaluated=40,
    )
    data, build = load_data("digits"), lambda act: small_cnn(act, padding=1)
    labels = train_classifiers(build, data, 4 * 48, config).labels
    return set(zip(labels["network"].tolist(), labels["step"].tolist(), strict=True))


def test_networks_that_diverge_are_left_out_both_ways(taken: list[str]) -> None:
    starts = {(network, 0) for network in range(4 * 48)}
    assert survivors(1e-3, 1e-8) == starts | {(network, 10) for network in range(4 * 48)}
    assert survivors(1e10, 1.0) == starts
    assert taken.count("train") == 8
    assert by_torch(lambda: survivors(1e10, 1.0)) == starts
    assert taken.count("train") == 8


def test_native_code_can_be_turned_off(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator, taken: list[str]
) -> None:
    monkeypatch.setenv("NFN_NATIVE", "0")
    monkeypatch.setattr(native, "LIBRARY", Library(native.LIBRARY.source))
    problem = regression([8], 2, 1, generator)
    start, draws = normal(problem.spec, generator), list(draw(problem, 2, generator))
    population = Population.start(problem.spec, SGDRule(0.1), as_params(problem.spec, start))
    trained = population.take_steps(problem, draws)
    assert not native.LIBRARY.can_load()
    assert not taken
    assert not torch.equal(trained.weights, start)
