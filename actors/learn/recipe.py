"""How a bundle's encoder learns: plain values, each with what it costs and where its default comes from.

Names no library: what is done with them is `finetune`'s and `teacher`'s business. Importing it costs nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run over pairs. The defaults suit MiniLM and some ten thousand pairs on two cores."""

    max_tokens: int = 72
    """Ceiling on the tokens of a pair; longer ones are cut. On real shopping pairs more did not help."""
    epochs: int = 1
    """Times that each labelled pair is seen, at most; 0 learns from the teacher alone."""
    batch_size: int = 32
    """Pairs in one step through the encoder."""
    accumulate: int = 1
    """Steps that make one update: batches larger than the memory."""
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    """Of the classifier and the pooler before it, which start from random or unused weights."""
    warmup_share: float = 0.1
    """Share of the updates in which the rates rise from zero; then they fall to zero."""
    looks: int = 5
    """How often the pairs of the role `dev` are scored in one run, evenly; the best state is kept."""
    patience: int = 3
    """Looks without a better one after which the run ends early."""
    in_order: bool = False
    """Keep the order of the pairs: a curriculum. Otherwise batches are drawn of pairs of like length."""
    judge_weight: float = 0.5
    """How much a pair counts that only judges labelled, a person's counting 1."""
    weak_weight: float = 0.2
    """The same for pairs that only rules or signals labelled."""
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.max_tokens, self.batch_size, self.accumulate, self.looks, self.patience)
        above = (self.learning_rate, self.head_learning_rate, self.judge_weight, self.weak_weight)
        if min(counts) < 1 or self.epochs < 0 or min(above) <= 0 or not 0 <= self.warmup_share < 1:
            raise ValueError(
                "a recipe needs counts of 1 or more, epochs of 0 or more, rates and weights above 0, and a "
                "share of warm-up below 1"
            )


class TeacherKind(enum.StrEnum):
    """Whom the encoder learns from beside the labels."""

    NONE = "none"
    """Nobody: the labels alone."""
    FEATURES = "features"
    """A small model of what words and the untrained embeddings say, with and without the company a query keeps:
    see `teacher`."""
    BUNDLE = "bundle"
    """Another bundle, a larger one: the encoder becomes its smaller student."""
    FILE = "file"
    """A file of probabilities for pairs."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """What the encoder imitates first, on many pairs that nobody labelled."""

    kind: TeacherKind = TeacherKind.FEATURES
    source: str | None = None
    """Address of the bundle, or the file; for these kinds."""
    epochs: int = 1
    """Times that each of the teacher's pairs is seen, at most."""
    fields: tuple[str, ...] = ()
    """Document-side fields that the features compare with the query each by itself; none stands for those of the
    template."""
    label_rate: float = 0.2
    """Factor on the recipe's rates when the labels are learned after the teacher."""
    folds: int = 5
    """Parts of the clusters; a teacher that saw a pair's labels does not score it."""
    label_share: float = 0.75
    """Of what a labelled pair is to be, the share that its label says, from 0 to 1; the rest says the teacher of
    features. Students on real shopping pairs, five folds by query, had a mean AUC of 0.763 with none, 0.762 with
    half and 0.766 with three quarters; two runs of one fold differ by up to 0.01."""

    def __post_init__(self) -> None:
        if (self.source is None) is (self.kind in {TeacherKind.BUNDLE, TeacherKind.FILE}):
            raise ValueError(f"teacher.source goes with the kinds bundle and file, not with {self.kind}")
        if self.epochs < 1 or self.folds < 2 or self.label_rate <= 0:
            raise ValueError("a teacher needs 1 epoch or more, 2 folds or more, and a rate above 0")
        if not 0 <= self.label_share <= 1:
            raise ValueError(f"a teacher needs a share of labels from 0 to 1, not {self.label_share}")


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is made from the pairs of the role `train`, for the teacher to score or, without one, to learn from.

    The counts do nothing where the teacher is a file; without a teacher none is above that of the labelled pairs.
    """

    mismatches: int = 14_000
    """Queries with documents that were meant for others. With half as many of these and of the next, the same
    students had 0.762 instead of 0.767, in half the time."""
    pseudo_queries: int = 14_000
    """Pairs with a query made from a document's words; none without a teacher, as nobody says what is severe."""
    exclusions: int = 1_000
    """Pairs with a query that excludes something, in both polarities."""
    dropped_fields: float = 0.0
    """Chance of each field of a document to be left out where labels are learned; what is imitated stays whole."""

    def __post_init__(self) -> None:
        if min(self.mismatches, self.pseudo_queries, self.exclusions) < 0 or not 0 <= self.dropped_fields < 1:
            raise ValueError("augmentation needs counts of 0 or more, and a chance from 0 to below 1")
