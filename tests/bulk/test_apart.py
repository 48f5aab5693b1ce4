"""Rows that end their process are found, and where every process dies none is blamed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.bundle import PROBES_FILE, write_child
from actors.probes import Probes
from actors.scorer import Scores
from actors.tokens import Tokens
from pipeline.bearing import Bearing
from pipeline.bulk.apart import MAX_DEATHS, Apart, ComposeApart
from pipeline.errors import ReplicasKeepDying
from pipeline.prepare import compose
from pipeline.records import Candidates, Reason, Rejected
from pipeline.trial import Died
from tests.bulk.backfills import Backfill, catalogue
from tests.fakes import ArithmeticPreparer, PoisonScorer, stand_in_bundle

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


class ComposingTrial:
    """Dies of one text, or of all that are given; of nothing, too, where nothing works."""

    def __init__(self, *, of_all: bool = False, of_nothing: bool = False) -> None:
        self.of_all = of_all
        self.of_nothing = of_nothing

    def __call__(self, batches):
        return [self._answer(candidates) for candidates in batches]

    def _answer(self, candidates: Candidates):
        texts = [document["text"] for document in candidates.document]
        if str(DEADLY) in texts or (self.of_all and texts) or self.of_nothing:
            return Died("signal 11")
        rejected: list[Rejected] = []
        return *compose(ArithmeticPreparer(), candidates, rejected), rejected


def candidates(*texts: object) -> Candidates:
    n = len(texts)
    documents = [{"text": str(text)} for text in texts]
    return Candidates([0] * n, [*range(n)], [f"c-{at}" for at in range(n)], [{"text": "q"}] * n, documents)


@pytest.mark.parametrize("texts", [(1, 2, DEADLY, 4, "", 6, DEADLY), (DEADLY,), (1, DEADLY), (), (1, 2)])
def test_the_texts_that_end_the_process_are_rejected_and_the_others_prepared(
    texts: tuple[object, ...],
) -> None:
    rejected: list[Rejected] = []
    origins, columns = ComposeApart(ComposingTrial())(candidates(*texts), rejected)
    sound = [at for at, text in enumerate(texts) if text not in {DEADLY, ""}]
    assert origins.row.tolist() == sound
    assert origins.candidate_id.to_pylist() == [f"c-{at}" for at in sound]
    assert Tokens.from_arrow(columns).ids.tolist() == [texts[at] for at in sound]
    expected = {DEADLY: Reason.PREPARING_FAILED, "": Reason.EMPTY_TEXT}
    assert {one.row: one.reason for one in rejected} == {
        at: expected[text] for at, text in enumerate(texts) if text in expected
    }


@pytest.mark.parametrize("trial", [ComposingTrial(of_all=True), ComposingTrial(of_nothing=True)])
def test_where_nothing_can_be_prepared_no_text_is_blamed(trial: ComposingTrial) -> None:
    rejected: list[Rejected] = []
    with pytest.raises(ReplicasKeepDying):
        ComposeApart(trial)(candidates(*range(1000)), rejected)
    assert not rejected


def test_a_row_that_is_alone_in_its_file_is_rejected_where_the_bundle_has_probes(tmp_path: Path) -> None:
    """Nothing else had been scored, so that the scorer was blamed, and `--resume` ended at the same row."""
    stand_in = stand_in_bundle(tmp_path)
    probes = Probes(Tokens.from_rows([[0], [50]], None), np.array([0.0, 0.5], np.float32))
    files = {PROBES_FILE: probes.to_bytes()}
    bundle = write_child(tmp_path / "probed", stand_in, stand_in.manifest, files=files)
    source = catalogue(tmp_path / "items.parquet", [PoisonScorer.EXITS])
    run = Backfill(source, tmp_path / "out", bundle, apart=True)
    assert run.work()["reasons"] == {"scoring_failed": 1}
