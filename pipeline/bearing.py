"""Scores whatever can be scored: a batch that the scorer cannot bear is halved, down to the pair that is at fault.

Promises a score or a reason for every pair, and that no pair is blamed for a broken scorer: before one is, another
must still be scored, or what the scorer raised is raised. Knows neither Kafka nor the engine; each door scores
through it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from actors.scorer import Scores, ScoresPairs
from actors.tokens import Tokens
from pipeline.records import Effort

NOT_SCORED = float("nan")


class Borne(NamedTuple):
    """What became of some pairs."""

    scores: Scores
    """One for each; `NOT_SCORED` where there is none."""
    failures: Mapping[int, str]
    """Why some have none, by place."""
    effort: Effort = Effort()
    """What it took; nothing is known of a scorer that does not count."""


class Bearing:
    """A scorer that tells which pairs it cannot bear.

    Args:
        scorer: Scores tokens.
        sound: A pair that can be scored, where one is known before any was.
    """

    def __init__(self, scorer: ScoresPairs, *, sound: Tokens | None = None) -> None:
        self._scorer = scorer
        self._sound = sound

    def score(self, tokens: Tokens) -> Borne:
        """Score what can be scored.

        Args:
            tokens: Pairs, n of them; none will do.

        Returns:
            What became of each.
        """
        before = _so_far(self._scorer)
        scores, failures = _score(self._scorer, tokens)
        if self._sound is None and len(failures) < len(tokens):
            self._sound = tokens.take([next(at for at in range(len(tokens)) if at not in failures)])
        if failures:
            # After a failed assertion on a CUDA device every call fails: whatever came would be rejected.
            if self._sound is None:
                raise next(iter(failures.values()))
            self._scorer.score(self._sound)
        because = {at: f"{type(why).__name__}: {why}" for at, why in failures.items()}
        return Borne(scores, because, _so_far(self._scorer) - before)


def unscored() -> Scores:
    """In the place of one pair's scores."""
    nothing = np.full(1, NOT_SCORED, np.float32)
    return Scores(nothing, nothing, np.zeros(1, np.int8))


def joined(parts: Sequence[Scores]) -> Scores:
    """One after the other; at least one."""
    return Scores(
        np.concatenate([part.logit for part in parts]),
        np.concatenate([part.relevance for part in parts]),
        np.concatenate([part.action for part in parts]),
    )


def _so_far(scorer: ScoresPairs) -> Effort:
    """What a scorer did since it was opened. Whoever names a class of their own need not count."""
    counted = getattr(scorer, "effort", None)
    if counted is None:
        return Effort()
    repeats = counted.pairs - counted.encoded
    return Effort(counted.pairs, repeats, counted.tokens, counted.padded, counted.halvings)


def _score(scorer: ScoresPairs, tokens: Tokens) -> tuple[Scores, dict[int, Exception]]:
    """Score what can be scored; what fails even alone is named, with the reason.

    The device's errors (memory, an index out of range) come as RuntimeError or MemoryError.
    """
    n = len(tokens)
    try:
        return scorer.score(tokens), {}
    except (RuntimeError, MemoryError, IndexError) as error:
        if n == 1:
            return unscored(), {0: error}
        if n == 0:
            raise
    middle = n // 2
    left, left_failed = _score(scorer, tokens.slice(0, middle))
    right, right_failed = _score(scorer, tokens.slice(middle, n))
    failed = left_failed | {middle + at: because for at, because in right_failed.items()}
    return joined([left, right]), failed
