"""What an output message says is read back as the codec wrote it; whatever else lies there is told apart."""

from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.scorer import Scores
from pipeline.codec import Limits, Origins, VerdictContext, encode_rejects, encode_verdicts
from pipeline.errors import InputError
from pipeline.records import Mode, Reason, Record, Rejected, Route, Stage, TopicPartition
from pipeline.sightings import ENDINGS, WHOLE, Sightings, rejected, verdicts

SOURCE = TopicPartition("candidates", 3)
TARGET = TopicPartition("candidates.prune", 0)
ARROW = ("content-type", b"application/vnd.apache.arrow.stream")
LIMITS = Limits(max_chars=100, max_message_bytes=1 << 16, max_reject_bytes=1 << 10)


def outputs(n: int, *, batch: bool, run: int = 1) -> list[Record]:
    """The prunes of `n` candidates: of as many messages, or of one batch message, at offset 40."""
    records = [Record(40 + at, 0, b"k", b"v", [ARROW] if batch else ()) for at in range(1 if batch else n)]
    places = np.arange(n, dtype=np.int32)
    zeros = np.zeros(n, np.int32)
    origins = Origins(
        zeros if batch else places, places if batch else zeros, pa.array([str(i) for i in places])
    )
    scores = Scores(np.full(n, 5.0, np.float32), np.full(n, 0.1, np.float32), np.full(n, 2, np.int8))
    context = VerdictContext(SOURCE, run, "sha256:0", 1.0, 0.0, "none", Mode.ENFORCE)
    made = encode_verdicts(records, origins, scores, context, time_ms=1).outputs
    assert {output.route for output in made} == {Route.PRUNE}
    return [Record(at, 0, one.key, one.value, one.headers) for at, one in enumerate(made)]


def reject(row: int = WHOLE, headers: tuple[tuple[str, bytes], ...] = ()) -> Record:
    problem = Rejected(0, row, Reason.NOT_JSON, Stage.DECODE, "bad")
    (output,) = encode_rejects([Record(7, 0, b"k", b"v", headers)], [problem], SOURCE, LIMITS, run=2)
    return Record(0, 0, output.key, output.value, output.headers)


def test_a_json_verdict_names_its_candidate():
    found = [verdicts(record) for record in outputs(3, batch=False)]
    assert [(one.source, one.run, *one.offset, *one.row) for one in found] == [
        (SOURCE, 1, 40 + i, 0) for i in range(3)
    ]
    assert {ENDINGS[code] for one in found for code in one.ending} == {"prune"}


def test_an_arrow_batch_names_each_of_its_candidates():
    (record,) = outputs(3, batch=True)
    found = verdicts(record)
    assert (found.source, found.run) == (SOURCE, 1)
    assert list(zip(found.offset, found.row, strict=True)) == [(40, 0), (40, 1), (40, 2)]
    assert [ENDINGS[code] for code in found.ending] == ["prune"] * 3


@pytest.mark.parametrize("row", [WHOLE, 0])
def test_a_reject_names_its_message_or_row(row):
    found = rejected(reject(row))
    assert (found.source, found.run, found.offset, found.row) == (SOURCE, 2, (7,), (row,))
    assert ENDINGS[found.ending[0]] == "rejected"


def test_of_a_reject_that_was_rejected_again_the_newest_counts():
    older = (("__connect.errors.topic", b"elsewhere"), ("__connect.errors.offset", b"1"))
    assert rejected(reject(headers=older)).source == SOURCE


def test_a_trail_keeps_the_order_in_which_it_was_seen():
    seen = Sightings("candidates", run=1)
    seen.take(TARGET, Route.PRUNE, outputs(3, batch=False))
    seen.take(TARGET, Route.PRUNE, outputs(2, batch=True))
    ((stream, trail),) = seen.of(SOURCE)
    assert (stream.route, stream.partition) == (Route.PRUNE, 0)
    assert trail.offset.tolist() == [40, 41, 42, 40, 40]
    assert trail.row.tolist() == [0, 0, 0, 0, 1]
    assert len(trail) == 5
    assert list(seen.of(TopicPartition("candidates", 0))) == []


@pytest.mark.parametrize(("topic", "run"), [("others", 1), ("candidates", 2)])
def test_other_gates_and_other_runs_are_passed_over(topic, run):
    seen = Sightings(topic, run=run)
    seen.take(TARGET, Route.PRUNE, outputs(3, batch=False))
    assert seen.trails == {}
    assert seen.foreign == []


SAID = orjson.loads(outputs(1, batch=False)[0].value or b"")


@pytest.mark.parametrize(
    "changed",
    [
        {"source_offset": -1},
        {"source_offset": 1 << 63},
        {"source_offset": "7"},
        {"source_row": -2},
        {"source_row": True},
        {"action": "delete"},
        {"source_partition": None},
        {"run": 1.5},
    ],
)
def test_what_only_looks_like_a_verdict_is_foreign(changed):
    seen = Sightings("candidates", run=1)
    seen.take(TARGET, Route.PRUNE, [Record(9, 0, None, orjson.dumps({**SAID, **changed}))])
    assert seen.foreign == ["candidates.prune[0]@9"]
    assert seen.trails == {}


@given(st.binary(max_size=60), st.booleans(), st.booleans())
def test_bytes_are_read_or_refused_and_nothing_else(value, batch, as_reject):
    record = Record(0, 0, None, value, [ARROW] if batch else [])
    with pytest.raises(InputError):
        (rejected if as_reject else verdicts)(record)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("source_partition", pa.array([1, 2], pa.int32())),
        ("source_offset", pa.array([1, 1 << 63], pa.uint64())),  # ended `reconcile` with an OverflowError
        ("source_row", pa.array([1, 1 << 31], pa.int64())),
    ],
)
def test_a_batch_about_two_partitions_or_places_that_cannot_be_is_foreign(column, values):
    (record,) = outputs(2, batch=True)
    table = pa.ipc.open_stream(record.value).read_all()
    mixed = table.set_column(table.schema.get_field_index(column), column, values)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, mixed.schema) as writer:
        writer.write_table(mixed)
    with pytest.raises(InputError):
        verdicts(record._replace(value=sink.getvalue().to_pybytes()))
