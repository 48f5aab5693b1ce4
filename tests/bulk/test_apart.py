"""Pairs that end their process are found, and a scorer that always dies blames none."""

from __future__ import annotations

import numpy as np
import pytest

from actors.scorer import Scores
from actors.tokens import Tokens
from pipeline.bearing import Bearing
from pipeline.bulk.apart import MAX_DEATHS, Apart
from pipeline.errors import ReplicasKeepDying
from pipeline.trial import Died

DEADLY = 13


class Trial:
    """Dies of one token, or of all."""

    def __init__(self, *, of_all: bool = False) -> None:
        self.of_all = of_all

    def __call__(self, batches):
        return [self._answer(tokens) for tokens in batches]

    def _answer(self, tokens: Tokens) -> Scores | Died:
        if self.of_all or DEADLY in tokens.ids:
            return Died("signal 9")
        logit = tokens.ids.astype(np.float32)
        return Scores(logit, -logit, np.zeros(len(tokens), np.int8))


def pairs(*ids: int) -> Tokens:
    return Tokens.from_rows([[one] for one in ids], None)


def test_the_pairs_that_end_the_process_are_named_and_the_others_scored() -> None:
    scores, failures, _ = Bearing(Apart(Trial())).score(pairs(*range(100), DEADLY))
    assert failures == dict.fromkeys((13, 100), "RuntimeError: scoring was given up: signal 9")
    assert np.flatnonzero(np.isnan(scores.logit)).tolist() == [13, 100]


def test_a_scorer_that_always_dies_blames_no_pair() -> None:
    trial = Trial(of_all=True)
    with pytest.raises(ReplicasKeepDying, match=f"{MAX_DEATHS} "):
        Bearing(Apart(trial)).score(pairs(*range(1000)))
