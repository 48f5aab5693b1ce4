import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from actors.learn.loss import Goal, row_loss

LOGITS = torch.tensor([2.0, -1.0, 0.5])


def labels(target, weight=(1, 1, 1), prior=(0, 0, 0)):
    return torch.tensor([target, weight, prior], dtype=torch.float32).T


def test_with_equal_weights_and_no_prior_it_is_the_plain_loss():
    target = [1.0, 0.0, 0.7]

    found = row_loss(LOGITS, labels(target))

    assert found.item() == pytest.approx(
        binary_cross_entropy_with_logits(LOGITS, torch.tensor(target)).item()
    )


def test_a_weight_of_two_is_the_row_twice_and_of_zero_is_no_row():
    found = row_loss(LOGITS, labels([1, 0, 1], weight=[2, 1, 0]))
    repeated = binary_cross_entropy_with_logits(LOGITS[[0, 0, 1]], torch.tensor([1.0, 1, 0]))

    assert found.item() == pytest.approx(repeated.item())


def test_a_row_counts_the_same_whatever_its_batch():
    weighted = labels([1, 0, 1], weight=[2, 1, 0.5])
    alone = [row_loss(LOGITS[i : i + 1], weighted[i : i + 1]).item() for i in range(3)]

    assert row_loss(LOGITS, weighted).item() == pytest.approx(sum(alone) / 3)


def test_a_prior_that_says_all_leaves_nothing_to_learn():
    logits = torch.zeros(3, requires_grad=True)
    row_loss(logits, labels([1, 0, 1], prior=[30, -30, 30])).backward()

    assert logits.grad.abs().max() < 1e-6


def test_a_logit_is_missed_by_its_square_and_a_prior_takes_part_in_it():
    found = row_loss(LOGITS, labels([3.0, 0.0, 0.5], weight=[1, 2, 1], prior=[0, 0, 1]), Goal.LOGIT)

    assert found.item() == pytest.approx((1.0 + 2 * 1.0 + 1.0) / 3)


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="needs labels"):
        row_loss(LOGITS, torch.ones(3))
