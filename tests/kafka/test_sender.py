"""Sender on a real broker: what it confirmed is there, what it could not send is an error."""

from __future__ import annotations

import pytest

from pipeline.errors import DataUnusable
from pipeline.kafka import topics
from pipeline.kafka.reader import RangeReader
from pipeline.kafka.sender import Sender

pytestmark = pytest.mark.kafka


def read_all(settings, name):
    reader = RangeReader(settings)
    try:
        found = []
        for source, extent in topics.extents(settings, name).items():
            if extent.last_stable:
                found += reader.read(
                    source, 0, extent.last_stable, max_records=9999, max_bytes=1 << 30
                ).records
        return found
    finally:
        reader.close()


@pytest.mark.parametrize("compression", [None, "lz4", "zstd", "gzip"])
def test_what_was_confirmed_is_there_with_key_and_headers(settings, topic, compression):
    name = topic(partitions=2)
    with Sender(settings, name, compression=compression) as sender:
        for i in range(50):
            sender.send(b"%d" % i, b"value", [("h", b"%d" % i)])
        sender.send(b"null", None)
        sender.confirm()
    found = {record.key: record for record in read_all(settings, name)}
    assert len(found) == 51
    assert found[b"7"].value == b"value"
    assert list(found[b"7"].headers) == [("h", b"7")]
    assert found[b"null"].value is None


def test_a_request_may_take_longer_than_a_message_is_waited_for(settings, topic):
    """A patient `kafka.request_timeout_ms` was refused, for a time-out that nobody can set."""
    name = topic()
    with Sender({**settings, "request_timeout_ms": 60_000}, name, delivery_timeout_s=30) as sender:
        sender.send(b"k", b"v")
        sender.confirm()
    assert [record.value for record in read_all(settings, name)] == [b"v"]


def test_messages_of_one_key_stay_in_order(settings, topic):
    name = topic(partitions=2)
    with Sender(settings, name) as sender:
        for i in range(200):
            sender.send(b"same", b"%d" % i)
        sender.confirm()
    assert [record.value for record in read_all(settings, name)] == [b"%d" % i for i in range(200)]


def test_little_is_under_way_however_much_is_sent(settings, topic, monkeypatch):
    monkeypatch.setattr("pipeline.kafka.sender._UNDER_WAY_MESSAGES", 5)
    with Sender(settings, topic(), linger_ms=0) as sender:
        for i in range(30):
            sender.send(b"k", b"%d" % i)
            assert len(sender._under_way) <= 5
        sender.confirm()
        assert len(sender._under_way) == 0


def test_a_message_that_is_too_large_is_refused(settings, topic):
    with (
        Sender(settings, topic(), max_request_bytes=1000) as sender,
        pytest.raises(DataUnusable, match="key b'k'"),
    ):
        sender.send(b"k", b"x" * 2000)


def test_a_message_that_the_broker_finds_too_large_is_refused(settings, topic):
    name = topic(**{"max.message.bytes": "500"})
    with Sender(settings, name) as sender:
        sender.send(b"k", b"x" * 2000)
        with pytest.raises(DataUnusable, match="2001 bytes"):
            sender.confirm()


def test_a_batch_that_the_broker_finds_too_large_is_split_and_arrives(settings, topic):
    """The library's flush ends with an unknown error when it has split a batch."""
    name = topic(**{"max.message.bytes": "500"})
    with Sender(settings, name, linger_ms=200) as sender:
        for _ in range(10):
            sender.send(b"k", b"x" * 100)
        sender.confirm()
    assert len(read_all(settings, name)) == 10


def test_key_and_value_that_are_both_null_are_refused(settings, topic):
    with Sender(settings, topic()) as sender, pytest.raises(DataUnusable):
        sender.send(None, None)
