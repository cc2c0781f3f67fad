"""Any decoder can make masks, and networks are trained under them."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from meta_train import run_suite
from meta_train.suites.harness import Outcome
from meta_train.suites.networks import Equivariant
from meta_train.suites.tasks import _ticket_experiment
from meta_train.suites.tasks._winning_tickets import SUITE
from meta_train.support import fingerprint
from nfn_optim import NetworkSpec
from nfn_optim.layers import Pointwise
from nfn_optim.networks import EquivariantConfig

from ..conftest import smallest

pytestmark = pytest.mark.usefixtures("cache")


def quiet(done: int, total: int) -> None:
    pass


@pytest.mark.usefixtures("small_suites")
def test_a_decoder_of_ones_own_makes_masks() -> None:
    def decoder(spec: NetworkSpec) -> nn.Module:
        return Pointwise(spec, 6, 1)

    result = run_suite("winning-tickets", build=decoder, methods=["imp"], size="tiny")
    assert list(result.methods) == ["imp", "yours"]
    assert result.methods["yours"].parameters > 0
    with pytest.raises(ValueError, match="6 channels"):
        run_suite("winning-tickets", build=lambda spec: Pointwise(spec, 1, 1), size="tiny")


def test_an_encoder_of_another_width_is_another_outcome() -> None:
    def digest(channels: int) -> str:
        size = smallest("winning-tickets")
        encoder = Equivariant(EquivariantConfig(layer=Pointwise, hidden=(channels,)))
        size = replace(size, encoder=encoder)
        return fingerprint(SUITE.prepare(size, "digits", torch.device("cpu"), lambda *_: None))

    assert digest(4) == digest(4)
    assert digest(4) != digest(8)


def test_references_train_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ticket_experiment, "fit", lambda *_: pytest.fail("trained a network"))
    result = run_suite("winning-tickets", methods=list(SUITE.references), size="tiny")
    assert all(reached.parameters == 0 for reached in result.methods.values())


@pytest.mark.usefixtures("small_suites")
def test_the_score_is_the_mean_over_networks_and_has_its_standard_error() -> None:
    size = SUITE.sizes["tiny"]
    experiment = SUITE.prepare(size, size.data, torch.device("cpu"), lambda *_: None)
    outcome = SUITE.references["imp"](experiment, 0, quiet)
    accuracies, densities = outcome.predictions[:, 0], outcome.predictions[:, 1:]
    assert densities.shape == (size.num_test, len(experiment.networks.spec.weights))
    assert outcome.score == pytest.approx(float(accuracies.mean()))
    squares = (accuracies - accuracies.mean()).square().sum() / (size.num_test - 1)
    error = _ticket_experiment.standard_error(experiment, outcome)
    assert error == pytest.approx(float((squares / size.num_test).sqrt()))
    assert error > 0


def test_differences_are_between_networks_of_one_start() -> None:
    def reached(*accuracies: float) -> Outcome:
        return Outcome(0.0, 0.0, 0.0, 0, torch.tensor(accuracies).unsqueeze(1))

    ours, imp = reached(0.5, 0.7, 0.6), reached(0.6, 0.9, 0.9)
    assert _ticket_experiment.from_imp(ours, {"imp": imp}) == pytest.approx(-0.2)
    error = _ticket_experiment.from_imp_error(ours, {"imp": imp})
    assert error == pytest.approx(0.1 / 3**0.5)
    assert math.isnan(_ticket_experiment.from_imp(ours, {"yours": ours}))


@pytest.mark.usefixtures("small_suites")
def test_results_tell_the_difference_from_imp() -> None:
    result = run_suite("winning-tickets", methods=["imp", "random"], size="tiny")
    imp, random = result.methods["imp"], result.methods["random"]
    assert imp.more["from imp"] == imp.more["from imp, standard error"] == 0
    assert random.more["from imp"] == pytest.approx(random.metric - imp.metric, abs=1e-6)


def test_sizes_without_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="num_test must be at least 1; got 0"):
        replace(smallest("winning-tickets"), num_test=0)  # type: ignore[call-arg]
