"""The published schemas agree with what the codec takes and gives."""

from __future__ import annotations

import json
from importlib.resources import files

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pipeline.codec import VERDICT_SCHEMA, Audit, decode, encode_audit
from pipeline.records import Counts, Mode, Reason, TopicPartition
from tests.codec.examples import BAD, LIMITS, PASS, PRUNE, REVIEW, batch_record, encode, json_record, rows_of


def validator(name):
    schema = json.loads((files("pipeline") / "schemas" / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


CANDIDATE, VERDICT, AUDIT = (validator(name) for name in ("candidate", "verdict", "audit"))
IN_THE_SCHEMA = {
    Reason.WRONG_TYPE,
    Reason.MISSING_FIELD,
    Reason.EMPTY_ID,
    Reason.EMPTY_TEXT,
    Reason.TEXT_TOO_LONG,
}
NUMBERS = st.integers(-100, 100)

SIDES = (
    st.none()
    | NUMBERS
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.none() | st.text() | st.booleans())
)


@given(st.none() | NUMBERS | st.text() | st.sampled_from(["x" * 1024, "x" * 1025]), SIDES, SIDES)
def test_the_decoder_accepts_exactly_what_the_schema_does(candidate_id, query, document):
    message = {"candidate_id": candidate_id, "query": query, "document": document, "more": [1]}
    candidates, _ = decode([json_record(**message)], LIMITS)
    assert CANDIDATE.is_valid(message) == (len(candidates) == 1)


@pytest.mark.parametrize(
    "name", [n for n, bad in BAD.items() if bad.reason in IN_THE_SCHEMA and not bad.record.headers]
)
def test_the_schema_refuses_the_json_that_the_decoder_refuses(name):
    assert not CANDIDATE.is_valid(orjson.loads(BAD[name].record.value))


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("setting", ["arrow", "json"])
def test_every_verdict_satisfies_its_schema(mode, setting):
    records = [json_record(0), batch_record(offset=1)]
    actions = [PASS, REVIEW, PRUNE, PASS]
    for thresholds in ({}, {"prune_threshold": float("inf"), "review_threshold": float("inf")}):
        outputs = encode(records, actions, mode=mode, batch_verdicts=setting, **thresholds).outputs
        for output in outputs:
            for row in rows_of(output):
                VERDICT.validate(row)


def test_the_arrow_verdict_has_the_schema_s_fields():
    assert set(VERDICT_SCHEMA.names) == set(VERDICT.schema["properties"]) == set(VERDICT.schema["required"])


def test_an_audit_satisfies_its_schema():
    audit = Audit(TopicPartition("candidates", 0), 0, 10, 0, Mode.ENFORCE, Counts(1, 2, 3, 4, 10), 123)
    AUDIT.validate(orjson.loads(encode_audit(audit).value))
