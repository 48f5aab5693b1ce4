from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from actors.bundle import Bundle
from pipeline import link, prepare, score
from pipeline.codec import Limits
from pipeline.codec.arrow_stream import write_stream
from pipeline.errors import BundleRefused
from pipeline.prepare import Prepare
from pipeline.records import Action, Claim, Completed, Counts, Mode, Reason, Record, Route, TopicPartition
from pipeline.score import Score
from pipeline.settings import Settings
from pipeline.trial import Died
from tests.fakes import (
    ArithmeticPreparer,
    ArithmeticScorer,
    ListReader,
    PoisonScorer,
    ScriptedTrial,
    stand_in_bundle,
)
from tests.messages import outputs_of

ARROW = ("content-type", b"application/vnd.apache.arrow.stream")
SOURCE = TopicPartition("in", 3)
LIMITS = Limits(max_chars=20, max_message_bytes=40_000, max_reject_bytes=2_000)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return stand_in_bundle(tmp_path_factory.mktemp("score"))


def message(offset: int, text: object) -> Record:
    value = orjson.dumps({"candidate_id": f"c-{offset}", "query": "q", "document": str(text)})
    return Record(offset, 1_700_000_000_000 + offset, b"key", value)


def batch(*texts: object) -> Record:
    """One message with a candidate for each text."""
    ids = [f"c-{row}" for row in range(len(texts))]
    columns = {"candidate_id": ids, "query": ["q"] * len(texts), "document": [str(text) for text in texts]}
    value = write_stream(pa.RecordBatch.from_pydict(columns))
    return Record(0, 1_700_000_000_000, b"key", value, [ARROW])


def preparing(records: Sequence[Record]) -> Prepare:
    """Prepare, reading from a list; what it tries comes out as usual."""
    preparer = ArithmeticPreparer(max_chars=20)
    trial = partial(map_of, partial(prepare._work, preparer, LIMITS))
    return Prepare(ListReader(records), preparer, LIMITS, trial=trial, max_bytes=1 << 20)


def map_of(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    return list(map(work, items))


def complete_condemned(stage: Score, record: Record) -> Completed:
    (prepared,) = preparing([record])(Claim(SOURCE, 0, 1, 1, Mode.ENFORCE, attempt=3, condemned=True))
    (completed,) = stage(prepared)
    assert isinstance(completed, Completed)
    return completed


def complete(stage: Score, *texts: object, mode: Mode = Mode.ENFORCE) -> Completed:
    """Prepare and score one claim, from offset 0."""
    records = [message(offset, text) for offset, text in enumerate(texts)]
    (prepared,) = preparing(records)(Claim(SOURCE, 0, len(texts), 1, mode))
    (completed,) = stage(prepared)
    assert isinstance(completed, Completed)
    return completed


def arithmetic(bundle: Bundle, **how: object) -> Score:
    return Score(ArithmeticScorer(bundle.path), bundle, LIMITS, trial=ScriptedTrial(), run=9, **how)


def poison(bundle: Bundle, trial: ScriptedTrial | None = None) -> Score:
    return Score(PoisonScorer(bundle.path), bundle, LIMITS, trial=trial or ScriptedTrial(), run=9)


def routes(completed: Completed) -> list[tuple[Route, str]]:
    """(route, candidate id) of every message."""
    return [
        (output.route, orjson.loads(output.value or b"")["candidate_id"])
        for output in outputs_of(completed.outputs)
    ]


def test_each_candidate_goes_where_the_policy_says(bundle: Bundle) -> None:
    completed = complete(arithmetic(bundle), 50, 150, 250)
    assert routes(completed) == [(Route.PASS, "c-0"), (Route.REVIEW, "c-1"), (Route.PRUNE, "c-2")]
    assert completed.counts == Counts(prune=1, review=1, pass_=1, records=3)
    assert completed.claim == Claim(SOURCE, 0, 3, 1, Mode.ENFORCE)
    assert completed.oldest_ms == 1_700_000_000_000


@pytest.mark.parametrize(
    ("mode", "route"), [(Mode.OBSERVE, Route.PASS), (Mode.BRAKED, Route.REVIEW), (Mode.ENFORCE, Route.PRUNE)]
)
def test_the_mode_of_the_claim_moves_the_message_and_not_the_action(
    bundle: Bundle, mode: Mode, route: Route
) -> None:
    completed = complete(arithmetic(bundle), 300, mode=mode)
    (output,) = outputs_of(completed.outputs)
    assert output.route is route
    verdict = orjson.loads(output.value or b"")
    assert (verdict["action"], verdict["score"]) == (Action.PRUNE, 3.0)
    assert completed.counts.prune == 1


def test_what_passes_is_counted_although_it_is_not_sent(bundle: Bundle) -> None:
    completed = complete(arithmetic(bundle, emit_pass=False), 50, 250)
    assert routes(completed) == [(Route.PRUNE, "c-1")]
    assert completed.counts == Counts(prune=1, pass_=1, records=2)


def test_a_text_problem_and_a_score_that_is_no_number_are_rejected_alone(bundle: Bundle) -> None:
    completed = complete(arithmetic(bundle), "9" * 21, 50, ArithmeticScorer.NOT_A_NUMBER)
    assert completed.counts == Counts(pass_=1, rejected=2, records=3)
    assert completed.reasons == {Reason.TEXT_TOO_LONG: 1, Reason.SCORE_NOT_FINITE: 1}


def test_a_row_that_the_scorer_cannot_bear_is_found_and_rejected_alone(bundle: Bundle) -> None:
    completed = complete(poison(bundle), 50, 50, PoisonScorer.RAISES, 250, 50)
    assert completed.counts == Counts(prune=1, pass_=3, rejected=1, records=5)
    assert completed.reasons == {Reason.SCORING_FAILED: 1}
    (reject,) = [one for one in outputs_of(completed.outputs) if one.route is Route.REJECT]
    assert dict(reject.headers)["__connect.errors.offset"] == b"2"
    assert b"the device gave up" in (dict(reject.headers)["__connect.errors.exception.message"] or b"")


def test_a_replica_that_can_score_nothing_any_more_raises_and_rejects_nothing(bundle: Bundle) -> None:
    """After a failed assertion a CUDA device refuses every call: each row that came was rejected from then on,
    and the replica, which answered, was never replaced."""
    stage = poison(bundle)
    complete(stage, 50)
    with pytest.raises(RuntimeError):
        complete(stage, 50, PoisonScorer.BREAKS, 50)
    with pytest.raises(RuntimeError):
        complete(stage, 50)


def test_a_replica_that_has_not_scored_anything_yet_rejects_nothing(bundle: Bundle) -> None:
    with pytest.raises(RuntimeError):
        complete(poison(bundle), PoisonScorer.RAISES)


def test_once_it_has_scored_something_a_single_row_can_be_rejected(bundle: Bundle) -> None:
    stage = poison(bundle)
    complete(stage, 50)
    assert complete(stage, PoisonScorer.RAISES).reasons == {Reason.SCORING_FAILED: 1}


def test_a_condemned_candidate_that_is_alone_in_its_message_is_tried_too(bundle: Bundle) -> None:
    """Two executions in a row that ended for another reason (nodes that were taken away) had it rejected."""
    trial = ScriptedTrial(Died("exit code 3"))
    completed = complete_condemned(poison(bundle, trial), message(0, PoisonScorer.EXITS))
    assert trial.items is not None
    assert completed.reasons == {Reason.SCORING_FAILED: 1}
    assert completed.counts == Counts(rejected=1, records=1)
    (reject,) = outputs_of(completed.outputs)
    assert dict(reject.headers)["sluice.row"] == b"0"


def test_the_rows_of_a_condemned_message_are_tried_and_only_what_died_is_rejected(bundle: Bundle) -> None:
    """The whole message was rejected for one of its rows."""
    scored = ArithmeticScorer(bundle.path).score
    texts = [50, PoisonScorer.EXITS, 250]
    preparer = ArithmeticPreparer()
    tokens = [preparer.prepare([{}], [{"text": str(text)}]).tokens for text in texts]
    trial = ScriptedTrial(scored(tokens[0]), Died("exit code 3"), scored(tokens[2]))
    completed = complete_condemned(poison(bundle, trial), batch(*texts))
    assert trial.items is not None
    assert [item.ids.tolist() for item in trial.items] == [[text] for text in texts]
    assert completed.counts == Counts(prune=1, pass_=1, rejected=1, records=1)
    assert completed.reasons == {Reason.SCORING_FAILED: 1}
    outputs = {output.route: output for output in outputs_of(completed.outputs)}
    headers = dict(outputs[Route.REJECT].headers)
    assert headers["sluice.row"] == b"1"
    assert b"exit code 3" in (headers["__connect.errors.exception.message"] or b"")
    assert pa.ipc.open_stream(outputs[Route.REJECT].value).read_all()["candidate_id"].to_pylist() == ["c-1"]
    assert pa.ipc.open_stream(outputs[Route.PRUNE].value).read_all()["source_row"].to_pylist() == [2]


def test_a_condemned_message_without_candidates_is_not_tried(bundle: Bundle) -> None:
    trial = ScriptedTrial()
    completed = complete_condemned(poison(bundle, trial), message(0, "9" * 21))
    assert completed.reasons == {Reason.TEXT_TOO_LONG: 1}
    assert trial.items is None


def test_a_trial_scores_as_the_replica_does_and_survives_its_rows(bundle: Bundle) -> None:
    settings = Settings(bundle=str(bundle.path), pool={"scorer": "tests.fakes:PoisonScorer"})
    stage = score.build(settings)
    texts = [50, PoisonScorer.EXITS, 150, PoisonScorer.IS_KILLED, 250]
    completed = complete_condemned(stage, batch(*texts))
    assert completed.counts == Counts(prune=1, review=1, pass_=1, rejected=2, records=1)
    usual = complete(stage, 50, 150, 250)
    assert completed.counts._replace(rejected=0, records=3) == usual.counts


def test_a_claim_without_records_completes_empty(bundle: Bundle) -> None:
    (prepared,) = preparing([])(Claim(SOURCE, 0, 4, 1, Mode.ENFORCE))
    (completed,) = arithmetic(bundle)(prepared)
    assert (completed.counts, outputs_of(completed.outputs)) == (Counts(), [])
    assert completed.oldest_ms is None


def test_what_is_no_work_is_passed_on(bundle: Bundle) -> None:
    unread = link.Unread(Claim(SOURCE, 0, 1, 1, Mode.ENFORCE), "away")
    stage = arithmetic(bundle)
    assert [*stage(link.Warm()), *stage(unread)] == [link.Warm(), unread]


def test_it_is_built_as_the_settings_say(bundle: Bundle) -> None:
    settings = Settings(bundle=str(bundle.path), pool={"scorer": "tests.fakes:ArithmeticScorer"})
    completed = complete(score.build(settings), 150)
    (output,) = outputs_of(completed.outputs)
    assert orjson.loads(output.value or b"")["bundle"] == bundle.digest


def test_a_bundle_that_must_not_be_used_is_refused(tmp_path: Path) -> None:
    settings = Settings(bundle=str(tmp_path), pool={"scorer": "tests.fakes:ArithmeticScorer"})
    with pytest.raises(BundleRefused, match=str(tmp_path)):
        score.build(settings)


def test_a_condemned_candidate_that_is_sound_has_its_verdict(bundle: Bundle) -> None:
    tokens = ArithmeticPreparer().prepare([{}], [{"text": "50"}]).tokens
    trial = ScriptedTrial(ArithmeticScorer(bundle.path).score(tokens))
    completed = complete_condemned(poison(bundle, trial), message(0, 50))
    assert completed.counts == Counts(pass_=1, records=1)
