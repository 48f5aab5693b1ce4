"""Verdicts of a backfill are messages as the stream sends them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import orjson
import pyarrow as pa
import pytest

from pipeline.bulk.emit import Emit
from pipeline.codec import VERDICT_SCHEMA
from pipeline.codec.verdict import VerdictContext, VerdictRows
from pipeline.kafka import topics
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.kafka.reader import RangeReader
from pipeline.records import Mode, Record, TopicPartition
from pipeline.settings import Settings

pytestmark = pytest.mark.kafka

SCHEMA = json.loads((Path(__file__).parents[2] / "pipeline/schemas/verdict.schema.json").read_text())
CONTEXT = VerdictContext(
    source=TopicPartition("s3://shop/items.parquet", 0),
    run=3,
    bundle="sha256:" + "0" * 64,
    prune_threshold=2.0,
    review_threshold=1.0,
    guarantee="none",
    mode=Mode.ENFORCE,
)


def rows(n: int) -> VerdictRows:
    action = np.arange(n, dtype=np.int8) % 3
    nothing = np.zeros(n, np.int32)
    ids = pa.array([f"c{i}" for i in range(n)])
    score = np.arange(n, dtype=np.float64)
    return VerdictRows(
        nothing, nothing, np.arange(n) + 40, ids, score, score / n, action, CONTEXT.routes[action]
    )


@pytest.fixture
def emitted(kafka: EmbeddedKafka, topic: Callable[..., str]) -> Callable[..., list[Record]]:
    def emit(n: int, **backfill: str) -> list[Record]:
        name = topic()
        where = {"bootstrap_servers": kafka.bootstrap_servers}
        settings = Settings(bundle="none", kafka=where, backfill=backfill)
        assert Emit(settings, name)(rows(n), replace(CONTEXT)) > 0
        ((source, extent),) = topics.extents(where, name).items()
        with closing(RangeReader(where)) as reader:
            read = reader.read(source, 0, extent.last_stable, max_records=9999, max_bytes=1 << 30)
        return read.records

    return emit


def test_each_verdict_is_a_json_message_keyed_by_its_candidate(emitted) -> None:
    messages = emitted(7)
    assert [message.key for message in messages] == [f"c{i}".encode() for i in range(7)]
    verdicts = [orjson.loads(message.value) for message in messages]
    for verdict in verdicts:
        jsonschema.validate(verdict, SCHEMA)
    last = verdicts[-1]
    assert (last["source_topic"], last["source_offset"], last["source_row"]) == (CONTEXT.source.topic, 46, 0)
    assert (last["action"], last["route"], last["run"], last["score"]) == ("pass", "pass", 3, 6.0)
    assert verdicts[2]["route"] == "prune"


def test_many_verdicts_are_few_arrow_messages(emitted) -> None:
    messages = emitted(2300, emit_format="arrow")
    assert [message.key for message in messages] == [b"c0", b"c1000", b"c2000"]
    assert all(
        dict(one.headers) == {"content-type": b"application/vnd.apache.arrow.stream"} for one in messages
    )
    tables = [pa.ipc.open_stream(message.value).read_all() for message in messages]
    assert all(table.schema == VERDICT_SCHEMA for table in tables)
    assert pa.concat_tables(tables)["source_offset"].to_pylist() == list(range(40, 2340))
