"""What several tests read: messages, good and bad in every way there is, and what the codec makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from actors.policy import ActionCode
from actors.scorer import Scores
from pipeline.codec import Limits, Origins, VerdictContext, decode, encode_rejects, encode_verdicts
from pipeline.records import Mode, Reason, Record, Rejected, Stage, TopicPartition

LIMITS = Limits(max_chars=200, max_message_bytes=40_000, max_reject_bytes=2_000)
ARROW = ("content-type", b"application/vnd.apache.arrow.stream")
GOOD: Mapping[str, Any] = {
    "candidate_id": "c-1",
    "query": {"theme": "running shoes"},
    "document": {"title": "Trail shoe", "brand": "Acme"},
}


class Bad(NamedTuple):
    """A record that holds exactly one fault."""

    record: Record
    reason: Reason
    row: int = -1


def record(
    value: bytes | None, *, headers: Sequence[tuple[str, bytes | None]] = (), offset: int = 7
) -> Record:
    return Record(offset, 1_700_000_000_000, b"key", value, headers)


def json_record(offset: int = 7, **changed: Any) -> Record:
    return record(orjson.dumps({**GOOD, **changed}), offset=offset)


def stream(table: pa.Table, *, rows_per_batch: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)
    return sink.getvalue().to_pybytes()


def table(n: int = 3, **changed: Any) -> pa.Table:
    columns: dict[str, Any] = {
        "candidate_id": [f"c-{i}" for i in range(n)],
        "query": ["running shoes"] * n,
        "document": [{"title": f"Shoe {i}", "brand": "Acme"} for i in range(n)],
    }
    return pa.table({name: column for name, column in {**columns, **changed}.items() if column is not None})


def batch_record(content: pa.Table | None = None, offset: int = 7) -> Record:
    return record(stream(table() if content is None else content), headers=[ARROW], offset=offset)


def not_utf8(texts: Sequence[bytes]) -> pa.Array:
    """A string column that was never checked, as a careless sender makes it."""
    raw = pa.array(texts, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


def _without(name: str) -> Record:
    return record(orjson.dumps({key: value for key, value in GOOD.items() if key != name}))


_STREAM = stream(table())
_MAP = pa.map_(pa.string(), pa.string())
_REPEATED = pa.array([[("title", "a"), ("title", "b")], [("title", "c")], [("title", "d")]], _MAP)

BAD: dict[str, Bad] = {
    "null value": Bad(record(None), Reason.EMPTY_VALUE),
    "empty value": Bad(record(b""), Reason.EMPTY_VALUE),
    "empty value and null key": Bad(record(None)._replace(key=None), Reason.EMPTY_VALUE),
    "value over the size limit": Bad(json_record(document="x" * 40_000), Reason.TOO_LARGE),
    "key over the size limit": Bad(json_record()._replace(key=b"k" * 24_000), Reason.TOO_LARGE),
    "headers over the size limit": Bad(
        json_record()._replace(headers=[("h", b"x" * 100)] * 300), Reason.TOO_LARGE
    ),
    "not UTF-8": Bad(record(b'{"candidate_id": "\xff"}'), Reason.NOT_UTF8),
    "not JSON": Bad(record(b'{"candidate_id": '), Reason.NOT_JSON),
    "NaN": Bad(record(b'{"candidate_id": NaN}'), Reason.NOT_JSON),
    "number out of range": Bad(record(b'{"candidate_id": 1e999}'), Reason.NOT_JSON),
    "nested too deeply": Bad(record(b"[" * 3000 + b"]" * 3000), Reason.NOT_JSON),
    "nested nearly too deeply": Bad(
        record(orjson.dumps(GOOD)[:-1] + b',"x":":","y":' + b"[" * 1000 + b"]" * 1000 + b"}"), Reason.NOT_JSON
    ),
    "array": Bad(record(b"[1]"), Reason.WRONG_TYPE),
    "number for an id": Bad(json_record(candidate_id=1), Reason.WRONG_TYPE),
    "number for a text": Bad(json_record(query=1.5), Reason.WRONG_TYPE),
    "boolean for a field": Bad(json_record(document={"title": True}), Reason.WRONG_TYPE),
    "no id": Bad(_without("candidate_id"), Reason.MISSING_FIELD),
    "no query": Bad(_without("query"), Reason.MISSING_FIELD),
    "no document": Bad(_without("document"), Reason.MISSING_FIELD),
    "null id": Bad(json_record(candidate_id=None), Reason.EMPTY_ID),
    "empty id": Bad(json_record(candidate_id=""), Reason.EMPTY_ID),
    "endless id": Bad(json_record(candidate_id="x" * 1025), Reason.TEXT_TOO_LONG),
    "null query": Bad(json_record(query=None), Reason.EMPTY_TEXT),
    "null document": Bad(json_record(document=None), Reason.EMPTY_TEXT),
    "repeated key": Bad(
        record(b'{"candidate_id":"a","candidate_id":"b","query":"q","document":"d"}'), Reason.DUPLICATE_KEY
    ),
    "repeated field": Bad(
        record(b'{"candidate_id":"a","query":"q","document":{"t":"x","t":"y"}}'), Reason.DUPLICATE_KEY
    ),
    "repeated key, written in two ways": Bad(
        record(b'{"candidate_id":"a","query" : "q","document":"d","que\\u0072y"\n:"r"}'), Reason.DUPLICATE_KEY
    ),
    "lone surrogate": Bad(
        record(b'{"candidate_id":"a","query":"\\ud800","document":"d"}'), Reason.LONE_SURROGATE
    ),
    "lone surrogate in a key": Bad(record(b'{"\\udc00":1}'), Reason.LONE_SURROGATE),
    "unknown content type": Bad(
        json_record()._replace(headers=[("content-type", b"text/csv")]), Reason.UNKNOWN_CONTENT_TYPE
    ),
    "null content type": Bad(
        json_record()._replace(headers=[("content-type", None)]), Reason.UNKNOWN_CONTENT_TYPE
    ),
    "JSON called Arrow": Bad(json_record()._replace(headers=[ARROW]), Reason.NOT_ARROW),
    "Arrow called JSON": Bad(record(_STREAM), Reason.NOT_UTF8),
    "truncated Arrow": Bad(record(_STREAM[:-100], headers=[ARROW]), Reason.TRUNCATED_ARROW),
    "Arrow cut between batches": Bad(record(_STREAM[:-8], headers=[ARROW]), Reason.TRUNCATED_ARROW),
    "two Arrow streams": Bad(record(_STREAM * 2, headers=[ARROW]), Reason.NOT_ARROW),
    "damaged Arrow": Bad(
        record(_STREAM[:20] + b"\xee" * 60 + _STREAM[80:], headers=[ARROW]), Reason.NOT_ARROW
    ),
    "no rows": Bad(batch_record(table().slice(0, 0)), Reason.EMPTY_VALUE),
    "no column": Bad(batch_record(table(document=None)), Reason.MISSING_COLUMN),
    "numbers for a column": Bad(batch_record(table(candidate_id=[1, 2, 3])), Reason.WRONG_TYPE),
    "numbers for a struct field": Bad(batch_record(table(query=[{"n": 1}] * 3)), Reason.WRONG_TYPE),
    "repeated column": Bad(
        batch_record(table().append_column("query", pa.array(["q"] * 3))), Reason.DUPLICATE_KEY
    ),
    "repeated struct field": Bad(
        batch_record(table(query=pa.StructArray.from_arrays([pa.array(["a"] * 3)] * 2, names=["t", "t"]))),
        Reason.DUPLICATE_KEY,
    ),
    "row with a null id": Bad(batch_record(table(candidate_id=["a", None, "c"])), Reason.EMPTY_ID, 1),
    "row with an empty id": Bad(batch_record(table(candidate_id=["a", "b", ""])), Reason.EMPTY_ID, 2),
    "row with an endless id": Bad(
        batch_record(table(candidate_id=["a", "b", "c" * 1025])), Reason.TEXT_TOO_LONG, 2
    ),
    "row with a null query": Bad(batch_record(table(query=[None, "b", "c"])), Reason.EMPTY_TEXT, 0),
    "row with a null document": Bad(
        batch_record(table(document=[{"t": "a"}, None, {"t": "c"}])), Reason.EMPTY_TEXT, 1
    ),
    "row with an id that is not UTF-8": Bad(
        batch_record(table(candidate_id=not_utf8([b"a", b"\xff", b"c"]))), Reason.NOT_UTF8, 1
    ),
    "row with a field that is not UTF-8": Bad(
        batch_record(
            table(document=pa.StructArray.from_arrays([not_utf8([b"a", b"b", b"\xff"])], names=["t"]))
        ),
        Reason.NOT_UTF8,
        2,
    ),
    "row with a repeated field": Bad(batch_record(table(document=_REPEATED)), Reason.DUPLICATE_KEY, 0),
}


SOURCE = TopicPartition("candidates", 3)
PASS, REVIEW, PRUNE = (int(code) for code in (ActionCode.PASS, ActionCode.REVIEW, ActionCode.PRUNE))


def context(**changed):
    facts = {
        "source": SOURCE,
        "run": 2,
        "bundle": "sha256:abc",
        "prune_threshold": 2.5,
        "review_threshold": 1.0,
        "guarantee": "none",
        "mode": Mode.ENFORCE,
    }
    return VerdictContext(**(facts | changed))


def scores(actions, logits=None):
    logit = np.linspace(-1, 1, len(actions), dtype=np.float32) if logits is None else np.float32(logits)
    return Scores(logit, (4 - logit) / 8, np.array(actions, np.int8))


def encode(records, actions, *, logits=None, limits=LIMITS, **changed):
    candidates, rejected = decode(records, limits)
    assert not rejected
    origins = Origins.of(candidates, range(len(candidates)))
    return encode_verdicts(records, origins, scores(actions, logits), context(**changed), time_ms=123)


def rows_of(output):
    """The verdicts in a message, as dicts, whichever way it is written."""
    if any(value == ARROW[1] for _, value in output.headers):
        return pa.ipc.open_stream(output.value).read_all().to_pylist()
    return [orjson.loads(output.value)]


LATER = {
    "score not finite": (json_record(), Rejected(0, 0, Reason.SCORE_NOT_FINITE, Stage.SCORE, "logit nan")),
    "row's score not finite": (
        batch_record(),
        Rejected(0, 2, Reason.SCORE_NOT_FINITE, Stage.SCORE, "logit inf"),
    ),
    "row's scoring failed": (batch_record(), Rejected(0, 1, Reason.SCORING_FAILED, Stage.SCORE, "died")),
    "preparing failed": (batch_record(), Rejected(0, -1, Reason.PREPARING_FAILED, Stage.DECODE, "died")),
    "undecodable batch": (
        Record(7, -1, None, None),
        Rejected(0, -1, Reason.UNDECODABLE_BATCH, Stage.READ, "bad checksum"),
    ),
}


def reject(one, rejected=None, limits=LIMITS):
    """The only reject of a record, as decoding finds it or as given."""
    found = decode([one], limits)[1] if rejected is None else [rejected]
    (output,) = encode_rejects([one], found, SOURCE, limits, run=2)
    return output


def every_kind_of_reject():
    for bad in BAD.values():
        yield bad.record, reject(bad.record)
    for one, rejected in LATER.values():
        yield one, reject(one, rejected)
