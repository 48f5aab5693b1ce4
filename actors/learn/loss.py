"""What training minimises, row by row as much as the row counts.

A row's label is three numbers: target, weight and prior. The prior is what the words of the pair say already;
added here as it is in serving, it leaves to the encoder what they do not tell. With the goal of a probability it
is the library's own loss where every weight is 1 and every prior 0. Needs the `train` extra.
"""

from __future__ import annotations

import enum

import torch
from sentence_transformers.cross_encoder import CrossEncoder
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

LABEL = ("target", "weight", "prior")
"""What a row's label holds, in this order."""


class Goal(enum.StrEnum):
    """What a target is, and so how far from it is measured."""

    PROBABILITY = "probability"
    """Of a severe violation; cross-entropy. For labels."""
    LOGIT = "logit"
    """A teacher's; squared error. Its ranking of what it finds harmless counts as much as of what it finds severe:
    Ba and Caruana, Do Deep Nets Really Need to be Deep? (2014), section 2.2."""


def row_loss(logits: Tensor, labels: Tensor, goal: Goal = Goal.PROBABILITY) -> Tensor:
    """Mean over the rows of weight times the loss of `logits + prior`.

    It is not divided by the batch's weights: what a row counts must not depend on who is in its batch.

    Args:
        logits: The encoder's, `[n]`.
        labels: Float `[n, 3]`, see `LABEL`: targets, weights not below 0, priors any.
        goal: What the targets are.

    Returns:
        A scalar.

    Raises:
        ValueError: The labels are not three numbers a row.
    """
    if labels.shape != (len(logits), len(LABEL)):
        raise ValueError(f"needs labels [{len(logits)}, {len(LABEL)}], not {list(labels.shape)}")
    target, weight, prior = labels.to(logits.device, torch.float32).unbind(dim=1)
    measure = binary_cross_entropy_with_logits if goal is Goal.PROBABILITY else mse_loss
    return (weight * measure(logits.float() + prior, target, reduction="none")).mean()


class RowLoss(nn.Module):
    """`row_loss` as the library's trainer calls it.

    Args:
        model: The cross-encoder that is trained, of one output.
        goal: What the targets are.
    """

    def __init__(self, model: CrossEncoder, goal: Goal = Goal.PROBABILITY) -> None:
        super().__init__()
        self.model = model
        self.goal = goal

    def forward(
        self,
        inputs: list[list[str]],
        labels: list[Tensor],
        prompt: str | None = None,
        task: str | None = None,
    ) -> Tensor:
        """Called by the trainer with two columns of n texts, and n labels of three numbers; a scalar."""
        pairs = list(zip(inputs[0], inputs[1], strict=True))
        features = self.model.preprocess(pairs, prompt=prompt, task=task)
        scores: Tensor = self.model(batch_to_device(features, self.model.device))["scores"]
        # The trainer stacks plain numbers only; a column of lists it hands on row by row.
        return row_loss(scores.view(-1), torch.stack([row.float() for row in labels]), self.goal)
