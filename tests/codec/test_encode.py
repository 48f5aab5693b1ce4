"""One verdict per candidate, in source order per route, with all that a reader needs."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import (
    VERDICT_SCHEMA,
    Limits,
    Origins,
    decode,
    encode_rejects,
    encode_verdicts,
)
from pipeline.codec.headers import carried_bytes
from pipeline.records import Counts, Mode, Reason, Record, Route, Stage, TopicPartition
from tests.codec.examples import (
    ARROW,
    BAD,
    LIMITS,
    PASS,
    PRUNE,
    REVIEW,
    SOURCE,
    batch_record,
    context,
    encode,
    json_record,
    rows_of,
    scores,
    stream,
    table,
)
from tests.sendable import why_unsendable

JSON = ("content-type", b"application/json")


def by_route(outputs):
    found = {}
    for output in outputs:
        found.setdefault(output.route, []).extend(rows_of(output))
    return found


def test_a_verdict_holds_all_that_a_reader_needs():
    (output,) = encode([json_record(offset=9)], [PRUNE], logits=[3.0]).outputs
    assert orjson.loads(output.value) == {
        "candidate_id": "c-1",
        "action": "prune",
        "route": "prune",
        "mode": "enforce",
        "score": 3.0,
        "relevance": 0.125,
        "prune_threshold": 2.5,
        "review_threshold": 1.0,
        "guarantee": "none",
        "bundle": "sha256:abc",
        "source_topic": "candidates",
        "source_partition": 3,
        "source_offset": 9,
        "source_row": 0,
        "run": 2,
        "time_ms": 123,
    }
    assert (output.route, output.key, list(output.headers)) == (Route.PRUNE, b"key", [])


def test_arrow_and_json_verdicts_have_the_same_fields_and_values():
    arrow = encode([batch_record()], [PASS, REVIEW, PASS])
    as_json = encode([batch_record()], [PASS, REVIEW, PASS], batch_verdicts="json")
    assert len(arrow.outputs) == 2
    assert len(as_json.outputs) == 3
    assert by_route(arrow.outputs) == by_route(as_json.outputs)
    for output in arrow.outputs:
        assert pa.ipc.open_stream(output.value).schema == VERDICT_SCHEMA


@pytest.mark.parametrize(
    ("mode", "routes"),
    [
        (Mode.ENFORCE, [Route.PASS, Route.REVIEW, Route.PRUNE]),
        (Mode.BRAKED, [Route.PASS, Route.REVIEW, Route.REVIEW]),
        (Mode.OBSERVE, [Route.PASS, Route.PASS, Route.PASS]),
    ],
)
def test_the_mode_decides_the_route_and_the_action_is_recorded_as_it_was(mode, routes):
    verdicts = encode([json_record(i) for i in range(3)], [PASS, REVIEW, PRUNE], mode=mode)
    assert [output.route for output in verdicts.outputs] == routes
    said = [orjson.loads(output.value) for output in verdicts.outputs]
    assert [one["action"] for one in said] == ["pass", "review", "prune"]
    assert [one["route"] for one in said] == [route.value for route in routes]
    assert {one["mode"] for one in said} == {mode.value}


def test_counts_are_of_actions_whatever_the_mode():
    verdicts = encode(
        [json_record(i) for i in range(4)],
        [PASS, REVIEW, PRUNE, PRUNE],
        logits=[0, 1, 2, np.nan],
        mode=Mode.OBSERVE,
    )
    assert verdicts.counts == Counts(prune=1, review=1, pass_=1, rejected=1)


def test_each_route_keeps_the_order_of_the_source():
    records = [json_record(0), batch_record(table(3), 1), json_record(2), batch_record(table(2), 3)]
    actions = [PRUNE, PASS, PRUNE, PASS, PRUNE, PASS, PRUNE]
    for setting in ("arrow", "json"):
        found = by_route(encode(records, actions, batch_verdicts=setting).outputs)
        places = {
            route: [(row["source_offset"], row["source_row"]) for row in rows]
            for route, rows in found.items()
        }
        assert places == {
            Route.PRUNE: [(0, 0), (1, 1), (2, 0), (3, 1)],
            Route.PASS: [(1, 0), (1, 2), (3, 0)],
        }


def test_key_and_headers_are_the_input_s_with_the_content_type_of_what_is_sent():
    trace = ("traceparent", b"00-1")
    before = [("Content-Type", b"text/csv"), trace, ("content-type", ARROW[1] + b"; v=1"), trace, ("n", None)]
    one = batch_record()._replace(headers=before, key=None)
    (arrow,) = encode([one], [PASS] * 3).outputs
    (as_json, *_) = encode([one], [PASS] * 3, batch_verdicts="json").outputs
    null = [("n", b""), ("sluice.null.headers", b"4")]
    assert arrow.key is None
    assert arrow.headers == [before[0], trace, ARROW, trace, *null]
    assert as_json.headers == [before[0], trace, JSON, trace, *null]


def test_a_score_that_is_not_finite_is_rejected_and_the_others_are_not():
    records = [json_record(0), batch_record(table(3), 1)]
    verdicts = encode(records, [PASS, PRUNE, PRUNE, PASS], logits=[0, np.inf, 2, np.nan])
    assert [(one.record, one.row) for one in verdicts.rejected] == [(1, 0), (1, 2)]
    assert {(one.reason, one.stage) for one in verdicts.rejected} == {(Reason.SCORE_NOT_FINITE, Stage.SCORE)}
    assert [row["source_row"] for output in verdicts.outputs for row in rows_of(output)] == [0, 1]


def test_a_threshold_that_is_never_reached_is_null():
    never = {"prune_threshold": math.inf, "review_threshold": math.inf}
    verdicts = encode([json_record(0), batch_record(offset=1)], [PASS] * 4, **never)
    for output in verdicts.outputs:
        for row in rows_of(output):
            assert (row["prune_threshold"], row["review_threshold"]) == (None, None)


def test_what_passes_is_counted_and_not_sent_where_pass_is_off():
    records = [json_record(0), batch_record(offset=1)]
    verdicts = encode(records, [PASS, PASS, PRUNE, PASS], emit_pass=False)
    assert [output.route for output in verdicts.outputs] == [Route.PRUNE]
    assert verdicts.counts == Counts(prune=1, pass_=3)
    assert encode(records, [PASS] * 4, emit_pass=False).outputs == []


def test_a_claim_without_candidates_gives_nothing():
    verdicts = encode([], [])
    assert verdicts == ([], [], Counts())


def test_a_batch_of_verdicts_larger_than_a_message_is_sent_in_several():
    n = 500
    ids = [f"{i:03}" * 20 for i in range(n)]
    one = batch_record(table(n, candidate_id=ids))
    outputs = encode([one], [PASS] * n, limits=Limits(100, 1 << 20, 0), max_message_bytes=20_000).outputs
    assert len(outputs) > 1
    assert all(len(output.value) <= 20_000 for output in outputs)
    assert [row["source_row"] for output in outputs for row in rows_of(output)] == list(range(n))


@pytest.mark.parametrize("setting", ["arrow", "json"])
def test_a_verdict_can_be_sent_wherever_its_candidate_was_accepted(setting):
    """The worst case: the longest id, escaped, and as much in key and headers as decoding lets through."""
    limits = Limits(100, 64_000, 0)
    headers = [ARROW, *[("", None)] * 2000]
    one = batch_record(table(3, candidate_id=["\N{NULL}" * 1024] * 3))._replace(headers=headers)
    one = one._replace(key=b"k" * (limits.max_carried_bytes - carried_bytes(None, headers)))
    facts = {
        "source": TopicPartition("t" * 249, 2**31 - 1),
        "guarantee": "g" * 500,
        "bundle": "sha256:" + "f" * 64,
        "max_message_bytes": limits.max_message_bytes,
    }
    outputs = encode([one], [PRUNE] * 3, limits=limits, batch_verdicts=setting, **facts).outputs
    assert [row["source_row"] for output in outputs for row in rows_of(output)] == [0, 1, 2]
    for output in outputs:
        size = limits.max_message_bytes
        assert not why_unsendable(output.key, output.value, output.headers, max_request_bytes=size)


KINDS = st.lists(st.integers(0, 5), max_size=6)


@given(KINDS, st.sampled_from(list(Mode)), st.sampled_from(["arrow", "json"]), st.randoms())
def test_every_candidate_has_exactly_one_verdict_or_reject(sizes, mode, setting, random):
    """A size of 0 stands for a JSON message, any other for a batch message of as many rows."""
    records = [
        json_record(at) if size == 0 else batch_record(table(size), at) for at, size in enumerate(sizes)
    ]
    n = sum(size or 1 for size in sizes)
    actions = random.choices([PASS, REVIEW, PRUNE], k=n)
    logits = random.choices([0.0, 1.0, math.nan], k=n)
    verdicts = encode(records, actions, logits=logits, mode=mode, batch_verdicts=setting)
    places = [(one.record, one.row) for one in verdicts.rejected]
    for output in verdicts.outputs:
        for row in rows_of(output):
            assert row["route"] == output.route.value
            places.append((row["source_offset"], row["source_row"]))
    expected = [(at, row) for at, size in enumerate(sizes) for row in range(size or 1)]
    assert sorted(places) == expected
    assert verdicts.counts.scored + verdicts.counts.rejected == n


def test_only_what_was_kept_has_an_origin():
    one = Record(5, 0, None, stream(table(4)), [ARROW])
    candidates, _ = decode([one], LIMITS)
    origins = Origins.of(candidates, [1, 3])
    verdicts = encode_verdicts([one], origins, scores([PASS, PASS]), context(), time_ms=1)
    assert [row["candidate_id"] for row in rows_of(verdicts.outputs[0])] == ["c-1", "c-3"]
    assert [row["source_row"] for row in rows_of(verdicts.outputs[0])] == [1, 3]


@pytest.mark.parametrize("setting", ["arrow", "json"])
def test_a_claim_with_every_fault_is_accounted_for_row_by_row(setting):
    """A record that was rejected for its content type once broke the verdicts of its neighbours."""
    bad = [one.record for one in BAD.values()]
    records = [json_record(), *bad, batch_record()]
    records = [one._replace(offset=at) for at, one in enumerate(records)]
    candidates, rejected = decode(records, LIMITS)
    origins = Origins.of(candidates, range(len(candidates)))
    facts = context(batch_verdicts=setting)
    verdicts = encode_verdicts(records, origins, scores([PASS] * len(candidates)), facts, time_ms=1)
    rejects = encode_rejects(records, rejected, SOURCE, LIMITS, run=1)
    places = [(row["source_offset"], row["source_row"]) for one in verdicts.outputs for row in rows_of(one)]
    told = [dict(one.headers) for one in rejects]
    places += [(int(said["__connect.errors.offset"]), int(said["sluice.row"])) for said in told]
    rows = {at: list(range(3)) for at, one in enumerate(BAD.values(), 1) if one.row >= 0}
    whole = {at: [-1] for at, one in enumerate(BAD.values(), 1) if one.row < 0}
    expected = {0: [0], **rows, **whole, len(records) - 1: [0, 1, 2]}
    assert sorted(places) == [(at, row) for at in sorted(expected) for row in expected[at]]
