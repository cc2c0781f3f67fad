"""Accuracies and their order, learned from one score."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from meta_train.suites.tasks._accuracies import Accuracies, AccuracyLoss, wrong_order
from meta_train.suites.tasks._generalization import kendall_tau

TARGETS = torch.tensor([0.2, 0.6, 0.6])


def test_the_order_of_pairs_that_differ_counts() -> None:
    right = torch.tensor([-1.0, 0.5, 0.5])
    torch.testing.assert_close(wrong_order(right, TARGETS), F.softplus(torch.tensor(-1.5)))
    assert wrong_order(right.flip(0), TARGETS) > wrong_order(right, TARGETS) + 0.5
    assert wrong_order(right, torch.full((3,), 0.5)) == 0


def test_extreme_scores_have_finite_gradients() -> None:
    scores = torch.tensor([-200.0, 200.0, 0.0], requires_grad=True)
    outputs = Accuracies(calibrated=True)(scores[:, None])
    AccuracyLoss(True, 0.0)(outputs, torch.tensor([[1.0], [0.0], [0.5]])).backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_scores_of_half_precision_are_learned_too() -> None:
    scores = torch.tensor([[-1.0], [2.0]], dtype=torch.bfloat16, requires_grad=True)
    AccuracyLoss(True, 0.0)(Accuracies(True)(scores), torch.tensor([[0.5], [0.2]])).backward()
    assert scores.grad is not None
    assert scores.grad.abs().min() > 0


@pytest.mark.parametrize("calibrated", [True, False])
def test_accuracies_come_from_the_first_of_what_a_network_writes(calibrated: bool) -> None:
    outputs, model = torch.randn(5, 4), Accuracies(calibrated)
    accuracies = outputs[:, 0].sigmoid()
    torch.testing.assert_close(model.eval()(outputs), accuracies)
    learned = model.train()(outputs)
    torch.testing.assert_close(learned[:, 0], accuracies)
    torch.testing.assert_close(learned[:, 1:], outputs)


def test_the_loss_adds_the_error_of_the_auxiliary_targets() -> None:
    predictions, targets = torch.rand(6, 4), torch.rand(6, 3)
    plain = F.binary_cross_entropy(predictions[:, 0], targets[:, 0])
    ordered = plain + 2 * wrong_order(predictions[:, 1], targets[:, 0])
    error = (predictions[:, 2:] - targets[:, 1:]).square().mean()
    torch.testing.assert_close(AccuracyLoss(True, 0.5)(predictions, targets), ordered + error / 2)
    torch.testing.assert_close(AccuracyLoss(True, 0.5)(predictions[:, :2], targets), ordered)
    torch.testing.assert_close(AccuracyLoss(False, 0.0)(predictions[:, :2], targets), plain)


def fitted(calibrated: bool, truth: Tensor, evidence: Tensor) -> Tensor:
    """Accuracies that a slope on one feature comes to, with the loss of pairs."""
    slope, model = torch.ones((), requires_grad=True), Accuracies(calibrated)
    learned = [slope, *(p for p in model.parameters() if p.requires_grad)]
    optimizer = torch.optim.Adam(learned, lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        AccuracyLoss(True, 0.0)(model((slope * evidence)[:, None]), truth[:, None]).backward()
        optimizer.step()
    return model.eval()((slope * evidence)[:, None]).detach()


def test_calibration_brings_accuracies_back_that_the_order_of_pairs_spreads(
    generator: torch.Generator,
) -> None:
    logits = torch.randn(200, generator=generator)
    truth, evidence = logits.sigmoid(), logits + 0.3 * torch.randn(200, generator=generator)
    spread, calibrated = fitted(False, truth, evidence), fitted(True, truth, evidence)
    assert kendall_tau(calibrated, spread) == pytest.approx(1)
    assert F.mse_loss(calibrated, truth) < F.mse_loss(spread, truth) / 3
