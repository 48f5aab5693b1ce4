"""The page about the wire format says what the codec does: its examples are run, its tables compared."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import orjson

from actors.scorer import Scores
from pipeline.codec import Origins, VerdictContext, decode, encode_audit, encode_verdicts, parse_audit
from pipeline.records import Mode, Reason, Record, TopicPartition
from tests.codec.examples import LIMITS, every_kind_of_reject, reject

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "wire-format.md").read_text()
CANDIDATE, VERDICT, AUDIT = (block.encode() for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
(SNIPPET,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def table(title):
    """First cells of the table under this head, split at commas, without the code marks."""
    rows = PAGE.split(f"| {title} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_the_candidate_and_its_verdict_are_what_the_codec_takes_and_gives():
    said = orjson.loads(VERDICT)
    record = Record(said["source_offset"], 0, b"key", CANDIDATE)
    candidates, rejected = decode([record], LIMITS)
    assert not rejected
    context = VerdictContext(
        source=TopicPartition(said["source_topic"], said["source_partition"]),
        run=said["run"],
        bundle=said["bundle"],
        prune_threshold=said["prune_threshold"],
        review_threshold=said["review_threshold"],
        guarantee=said["guarantee"],
        mode=Mode(said["mode"]),
    )
    scores = Scores(np.float32([said["score"]]), np.float32([said["relevance"]]), np.int8([2]))
    origins = Origins.of(candidates, [0])
    (output,) = encode_verdicts([record], origins, scores, context, time_ms=said["time_ms"]).outputs
    assert orjson.dumps(said) == output.value


def test_the_batch_is_accepted():
    made = {}
    exec(SNIPPET, made)
    candidates, rejected = decode([Record(0, 0, None, made["value"], made["headers"])], LIMITS)
    assert not rejected
    assert candidates.candidate_id == ["offer-17", "offer-18"]
    assert candidates.document[1] == {"title": "City sandal"}


def test_the_audit_is_one():
    assert encode_audit(parse_audit(AUDIT)).value == orjson.dumps(orjson.loads(AUDIT))


def test_every_reason_is_explained_and_no_other():
    assert table("reason") == [reason.value for reason in Reason]


def test_every_header_of_a_reject_is_explained_and_no_other():
    nulls = [("first", None), ("second", b"x" * LIMITS.max_reject_bytes)]
    cut = Record(7, 0, b"k" * 3000, b"v" * 3000, nulls)
    null = Record(7, 0, None, None)
    outputs = [reject(cut), reject(null), *(output for _, output in every_kind_of_reject())]
    added = {name for output in outputs for name, _ in output.headers if name.startswith(("sluice.", "__"))}
    assert added == set(table("header"))
