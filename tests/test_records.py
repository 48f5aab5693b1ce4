"""The values that travel."""

from __future__ import annotations

import pickle

import pytest

from pipeline.records import Action, Candidates, Claim, Counts, Mode, Reason, Route, TopicPartition

SOURCE = TopicPartition("candidates", 3)


def claim(**changed):
    facts = {"source": SOURCE, "start": 10, "end": 20, "assignment": 1, "mode": Mode.ENFORCE}
    return Claim(**(facts | changed))


@pytest.mark.parametrize(
    ("mode", "routes"),
    [
        (Mode.ENFORCE, {Action.PRUNE: Route.PRUNE, Action.REVIEW: Route.REVIEW, Action.PASS: Route.PASS}),
        (Mode.BRAKED, {Action.PRUNE: Route.REVIEW, Action.REVIEW: Route.REVIEW, Action.PASS: Route.PASS}),
        (Mode.OBSERVE, dict.fromkeys(Action, Route.PASS)),
    ],
)
def test_the_mode_decides_where_an_action_goes(mode, routes):
    assert {action: mode.route(action) for action in Action} == routes


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 5), (6, 5)])
def test_a_claim_covers_at_least_one_offset(start, end):
    with pytest.raises(ValueError, match="start < end"):
        claim(start=start, end=end)


def test_a_part_of_a_claim_differs_in_its_range_only():
    whole = claim(attempt=2)
    part = whole.part(12, 14)
    assert (part.start, part.end, part.n_offsets) == (12, 14, 2)
    assert part.part(10, 20) == whole


def test_a_claim_names_its_offsets():
    assert str(claim()) == "candidates[3]@[10,20)"


def test_counts_add_up_field_by_field():
    total = Counts(prune=1, pass_=2, records=5) + Counts(prune=1, review=1, rejected=3, records=5)
    assert total == Counts(prune=2, review=1, pass_=2, rejected=3, records=10)
    assert total.scored == 5


def test_counts_add_up_with_counts_only():
    with pytest.raises(TypeError):
        Counts() + 1


def test_reasons_are_codes_that_fit_headers_and_metric_labels():
    codes = [reason.value for reason in Reason]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and code.isascii() and " " not in code for code in codes)


def test_a_claim_survives_the_way_between_processes():
    assert pickle.loads(pickle.dumps(claim())) == claim()


def test_candidates_of_some_records_count_them_from_their_first() -> None:
    candidates = Candidates([0, 2, 2, 5], [0, 0, 1, 0], [*"abcd"], [{}] * 4, [{"text": t} for t in "abcd"])
    part = candidates.of(1, 5)
    assert (part.record, part.row, part.candidate_id) == ([1, 1], [0, 1], ["b", "c"])
    assert part.document == [{"text": "b"}, {"text": "c"}]
    assert len(candidates.of(3, 5)) == 0
