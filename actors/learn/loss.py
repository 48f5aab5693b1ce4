"""What training minimises: cross-entropy against a probability, row by row as much as the row counts.

Promises the library's own loss where every weight is 1 and every prior 0. A row's label is three numbers: target,
weight and prior. The prior is what the words of the pair say already; added here as it is in serving, it leaves to
the encoder what they do not tell. Needs the `train` extra.
"""

from __future__ import annotations

import torch
from sentence_transformers.cross_encoder import CrossEncoder
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

LABEL = ("target", "weight", "prior")
"""What a row's label holds, in this order."""


def weighted_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the rows of weight times cross-entropy of `logits + prior`.

    It is not divided by the batch's weights: what a row counts must not depend on who is in its batch.

    Args:
        logits: The encoder's, `[n]`.
        labels: Float `[n, 3]`, see `LABEL`: targets from 0 to 1, weights not below 0, priors any.

    Returns:
        A scalar.

    Raises:
        ValueError: The labels are not three numbers a row.
    """
    if labels.shape != (len(logits), len(LABEL)):
        raise ValueError(f"needs labels [{len(logits)}, {len(LABEL)}], not {list(labels.shape)}")
    target, weight, prior = labels.to(logits.device, torch.float32).unbind(dim=1)
    each = binary_cross_entropy_with_logits(logits.float() + prior, target, reduction="none")
    return (weight * each).mean()


class WeightedCrossEntropy(nn.Module):
    """`weighted_cross_entropy` as the library's trainer calls it.

    Args:
        model: The cross-encoder that is trained, of one output.
    """

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__()
        self.model = model

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
        return weighted_cross_entropy(scores.view(-1), torch.stack([row.float() for row in labels]))
