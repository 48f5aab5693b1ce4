"""Counts per claim that close the books where what passes is not sent."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import Audit, encode_audit, parse_audit
from pipeline.errors import InputError
from pipeline.records import Counts, Mode, Reason, Route, TopicPartition

AUDIT = Audit(TopicPartition("candidates", 3), 10, 20, 1, Mode.ENFORCE, Counts(1, 2, 3, 4, 9), 123)


def test_an_audit_says_how_the_rows_of_a_range_ended():
    output = encode_audit(AUDIT)
    assert (output.route, output.key, list(output.headers)) == (Route.AUDIT, b"candidates[3]", [])
    assert orjson.loads(output.value) == {
        "source_topic": "candidates",
        "source_partition": 3,
        "start": 10,
        "end": 20,
        "run": 1,
        "records": 9,
        "prune": 1,
        "mode": "enforce",
        "review": 2,
        "pass": 3,
        "rejected": 4,
        "time_ms": 123,
    }


NUMBERS = st.integers(0, 2**62)


@given(st.text(), *[NUMBERS] * 5, st.sampled_from(Mode), st.lists(NUMBERS, min_size=5, max_size=5))
def test_parses_what_was_encoded(topic, partition, start, end, run, time_ms, mode, counts):
    audit = Audit(TopicPartition(topic, partition), start, end, run, mode, Counts(*counts), time_ms)
    assert parse_audit(encode_audit(audit).value) == audit


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b"[]", Reason.WRONG_TYPE),
        (b"{}", Reason.MISSING_FIELD),
        (encode_audit(AUDIT).value.replace(b"10", b"null"), Reason.WRONG_TYPE),
        (encode_audit(AUDIT).value.replace(b"10", b'"x"'), Reason.WRONG_TYPE),
        (encode_audit(AUDIT).value.replace(b"enforce", b"asleep"), Reason.WRONG_TYPE),
    ],
)
def test_refuses_what_is_no_audit(value, reason):
    with pytest.raises(InputError) as caught:
        parse_audit(value)
    assert caught.value.reason is reason
