"""Whatever was read, its reject can be sent, and says what was wrong with what."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import REJECT_BYTES, Limits, decode, encode_rejects
from pipeline.errors import InvariantBroken
from pipeline.records import Reason, Record, Rejected, Route, Stage, TopicPartition
from tests.codec.examples import (
    ARROW,
    BAD,
    LIMITS,
    SOURCE,
    batch_record,
    every_kind_of_reject,
    json_record,
    not_utf8,
    record,
    reject,
    table,
)
from tests.sendable import why_unsendable


def test_tells_what_why_and_where_from():
    one = json_record(candidate_id=None, offset=9)._replace(headers=[("trace", b"1"), ("trace", b"2")])
    output = reject(one)
    assert (output.route, output.key, output.value) == (Route.REJECT, one.key, one.value)
    assert output.headers == [
        ("trace", b"1"),
        ("trace", b"2"),
        ("__connect.errors.topic", b"candidates"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"9"),
        ("__connect.errors.stage", b"DECODE"),
        ("__connect.errors.class.name", b"pipeline.codec.decode"),
        ("__connect.errors.exception.class.name", b"pipeline.errors.InputError"),
        ("__connect.errors.exception.message", b"empty_id: candidate_id is null"),
        ("sluice.reason", b"empty_id"),
        ("sluice.row", b"-1"),
        ("sluice.run", b"2"),
        ("sluice.timestamp", b"1700000000000"),
    ]


def test_null_stays_apart_from_empty():
    null, empty = (dict(reject(record(value)).headers) for value in (None, b""))
    assert null["sluice.null.value"] == b"true"
    assert "sluice.null.value" not in empty
    one = record(b"")._replace(key=None, headers=[("a", None), ("b", b""), ("c", None)])
    assert reject(one).key is None
    assert reject(one).headers[:4] == [("a", b""), ("b", b""), ("c", b""), ("sluice.null.headers", b"0,2")]


@pytest.mark.parametrize("name", [name for name, bad in BAD.items() if bad.row >= 0])
def test_a_bad_row_is_rejected_alone_and_as_it_was(name):
    bad = BAD[name]
    output = reject(bad.record)
    assert dict(output.headers)["sluice.row"] == str(bad.row).encode()
    assert ARROW in output.headers
    row = pa.ipc.open_stream(output.value).read_all()
    whole = pa.ipc.open_stream(bad.record.value).read_all()
    assert row.num_rows == 1
    assert row.equals(whole.slice(bad.row, 1))


def test_rows_are_cut_from_whichever_record_batch_holds_them():
    ids = ["a", None, "c", None, None, "f", None]
    sink = pa.BufferOutputStream()
    content = table(7, candidate_id=ids)
    with pa.ipc.new_stream(sink, content.schema) as writer:
        writer.write_table(content, max_chunksize=2)
    one = record(sink.getvalue().to_pybytes(), headers=[ARROW])
    outputs = encode_rejects([one], decode([one], LIMITS)[1], SOURCE, LIMITS, run=1)
    titles = [
        pa.ipc.open_stream(output.value).read_all()["document"][0].as_py()["title"] for output in outputs
    ]
    assert titles == ["Shoe 1", "Shoe 3", "Shoe 4", "Shoe 6"]


def test_a_row_that_the_message_does_not_have_is_a_defect():
    with pytest.raises(InvariantBroken, match="row 3"):
        reject(batch_record(), Rejected(0, 3, Reason.SCORE_NOT_FINITE, Stage.SCORE, ""))


def test_rejects_come_in_source_order():
    records = [batch_record(offset=4), json_record(5)]
    places = [(1, 0), (0, 2), (0, 0)]
    found = [Rejected(at, row, Reason.SCORE_NOT_FINITE, Stage.SCORE, "nan") for at, row in places]
    headers = [dict(output.headers) for output in encode_rejects(records, found, SOURCE, LIMITS, run=1)]
    assert [(one["__connect.errors.offset"], one["sluice.row"]) for one in headers] == [
        (b"4", b"0"),
        (b"4", b"2"),
        (b"5", b"0"),
    ]


def test_what_is_too_long_is_cut_and_told_by_length_and_digest():
    limits = Limits(100, 1 << 20, 40)
    one = record(b"v" * 100)._replace(
        key=b"k" * 41, headers=[("a", b"x" * 20), ("b", b"y" * 20), ("c", None)]
    )
    output = reject(one, limits=limits)
    assert (output.key, output.value) == (b"k" * 40, b"v" * 40)
    assert output.headers[0] == ("a", b"x" * 20)
    said = dict(output.headers)
    assert "b" not in said
    for part, content in (
        ("value", b"v" * 100),
        ("key", b"k" * 41),
        ("headers", b"b\0" + b"y" * 20 + b"\0c\0\0"),
    ):
        assert said[f"sluice.cut.{part}.bytes"] == str(len(content)).encode()
        assert said[f"sluice.cut.{part}.sha256"] == hashlib.sha256(content).hexdigest().encode()
    assert said["sluice.cut.headers.count"] == b"2"


def test_what_fits_exactly_is_not_cut():
    output = reject(record(b"v" * 40)._replace(key=b"k" * 40), limits=Limits(100, 1 << 20, 40))
    assert (output.key, output.value) == (b"k" * 40, b"v" * 40)
    assert not [name for name, _ in output.headers if name.startswith("sluice.cut")]


HEADERS = st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=50)), max_size=20)


@given(
    st.none() | st.binary(max_size=300),
    st.none() | st.binary(max_size=300),
    HEADERS,
    st.text(max_size=2000),
    st.integers(0, 200),
)
def test_a_reject_is_bounded_and_as_the_client_takes_it(key, value, headers, detail, most):
    one = Record(2**62, 2**40, key, value, headers)
    rejected = Rejected(0, -1, Reason.NOT_JSON, Stage.DECODE, detail)
    source = TopicPartition("t" * 249, 2**31 - 1)
    (output,) = encode_rejects([one], [rejected], source, Limits(1, 1 << 20, most), run=2**60)
    assert (
        why_unsendable(output.key, output.value, output.headers, max_request_bytes=3 * most + REJECT_BYTES)
        is None
    )


def test_thousands_of_null_headers_keep_a_reject_bounded():
    limits = Limits(1, 1 << 20, 50_000)
    output = reject(record(b"")._replace(headers=[("", None)] * 60_000), limits=limits)
    size = 3 * limits.max_reject_bytes + REJECT_BYTES
    assert not why_unsendable(output.key, output.value, output.headers, max_request_bytes=size)


@pytest.mark.kafka
def test_the_reject_of_every_kind_of_bad_input_can_be_sent(kafka, topic):
    """Through the real producer and back: a key, value or header that Kafka's client refuses shows here."""
    from kafka import KafkaConsumer, KafkaProducer
    from kafka import TopicPartition as KafkaPartition

    wide = Limits(max_chars=100, max_message_bytes=1 << 20, max_reject_bytes=256 << 10)
    huge = record(b"v" * (1 << 20))._replace(key=b"k" * (1 << 20), headers=[("h" * 99, b"x" * 900)] * 1000)
    outputs = [output for _, output in every_kind_of_reject()] + [reject(huge, limits=wide)]
    name = topic()
    with KafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        sent = [producer.send(name, one.value, one.key, one.headers, partition=0) for one in outputs]
        producer.flush()
        offsets = [future.get(60).offset for future in sent]
    assert all(after == before + 1 for before, after in pairwise(offsets))
    with KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, consumer_timeout_ms=60_000) as consumer:
        consumer.assign([KafkaPartition(name, 0)])
        consumer.seek_to_beginning()
        read = [next(consumer) for _ in outputs]
    assert [(one.key, one.value, list(one.headers)) for one in read] == [
        (one.key, one.value, one.headers) for one in outputs
    ]


def test_a_row_whose_text_is_not_utf8_goes_out_as_it_came():
    one = batch_record(table(candidate_id=not_utf8([b"a", b"\xff\xfe", b"c"])))
    (column, *_) = pa.ipc.open_stream(reject(one).value).read_all().columns
    assert column.chunk(0).view(pa.binary()).to_pylist() == [b"\xff\xfe"]
