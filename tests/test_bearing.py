"""A scorer that tells which pairs it cannot bear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.scorer import Scores
from actors.tokens import Tokens
from pipeline.bearing import Bearing
from pipeline.records import Effort
from tests.fakes import ArithmeticScorer, stand_in_bundle

_UNBEARABLE = 13


class _Picky:
    """Raises for any batch that holds one token."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken

    def score(self, tokens: Tokens) -> Scores:
        if self.broken or _UNBEARABLE in tokens.ids:
            raise RuntimeError("out of memory")
        logit = tokens.ids[tokens.offsets[:-1]].astype(np.float32)
        return Scores(logit, -logit, np.zeros(len(tokens), np.int8))


def _pairs(*ids: int) -> Tokens:
    return Tokens.from_rows([[one] for one in ids], None)


def test_the_pairs_at_fault_are_named_and_the_others_scored_in_order() -> None:
    scores, failures, _ = Bearing(_Picky()).score(_pairs(1, 13, 3, 4, 13))
    assert failures == dict.fromkeys((1, 4), "RuntimeError: out of memory")
    assert scores.logit[[0, 2, 3]].tolist() == [1, 3, 4]
    assert np.isnan(scores.logit[[1, 4]]).all()


def test_nothing_is_scored_of_nothing() -> None:
    scores, failures, _ = Bearing(_Picky()).score(_pairs())
    assert not len(scores)
    assert not failures


def test_what_scoring_took_is_told_of_each_call(tmp_path: Path) -> None:
    scorer = ArithmeticScorer(stand_in_bundle(tmp_path).path)
    scorer.effort.halvings = 5  # before
    bearing = Bearing(scorer)
    assert bearing.score(_pairs(1, 2, 3)).effort == Effort(pairs=3, tokens=3, padded_tokens=3)
    assert bearing.score(_pairs(4)).effort == Effort(pairs=1, tokens=1, padded_tokens=1)
    assert Bearing(_Picky()).score(_pairs(4)).effort == Effort(), "it does not count"


def test_with_a_sound_pair_at_hand_the_first_of_all_may_be_at_fault() -> None:
    assert list(Bearing(_Picky(), sound=_pairs(1)).score(_pairs(13)).failures) == [0]
    with pytest.raises(RuntimeError, match="memory"):
        Bearing(_Picky(broken=True), sound=_pairs(1)).score(_pairs(13))


def test_a_broken_scorer_blames_no_pair() -> None:
    scorer = _Picky()
    bearing = Bearing(scorer)
    with pytest.raises(RuntimeError, match="memory"):
        bearing.score(_pairs(13))
    bearing.score(_pairs(1))
    scorer.broken = True
    with pytest.raises(RuntimeError, match="memory"):
        bearing.score(_pairs(1, 2))
