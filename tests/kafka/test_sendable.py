"""The rules of what can be sent agree with the library's own, whatever is thrown at them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kafka import KafkaProducer
from kafka.errors import MessageSizeTooLargeError

from pipeline.kafka.embedded import EmbeddedKafka
from tests.sendable import request_bytes, why_unsendable

LIMIT = 2_000

contents = st.one_of(st.none(), st.binary(max_size=20), st.binary(min_size=900, max_size=1_100))
names = st.text(st.characters(), max_size=5)  # lone surrogates among them
headers = st.lists(st.tuples(names, st.one_of(st.none(), st.binary(max_size=20))), max_size=3)


@pytest.fixture(scope="module")
def producer(kafka: EmbeddedKafka) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers, max_request_size=LIMIT)
    yield producer
    producer.close(timeout=60)


@pytest.mark.parametrize(
    ("key", "value", "headers", "why"),
    [
        (None, None, [], "key and value are both null"),
        (b"", None, [], None),
        (None, b"", [], None),
        (None, b"v", [("h", b""), ("h", b"1")], None),
        (None, b"v", [("h", None)], "header 'h' is null"),
        (None, b"v", [("\ud800", b"")], r"header name '\ud800' cannot be written as UTF-8"),
    ],
)
def test_says_why_a_message_cannot_be_sent(key, value, headers, why):
    assert why_unsendable(key, value, headers) == why


def test_the_size_counts_key_value_and_headers():
    bare = request_bytes(None, b"", [])

    assert request_bytes(b"k" * 10, b"v" * 20, [("name", b"c" * 30)]) >= bare + 10 + 20 + 4 + 30
    assert "bytes are more than the 100 of one request" in str(
        why_unsendable(None, b"v" * 100, [], max_request_bytes=100)
    )


@pytest.mark.kafka
@given(key=contents, value=contents, headers=headers)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_library_takes_what_is_sendable_and_nothing_else(
    topic_of_this_test, producer, key, value, headers
):
    why = why_unsendable(key, value, headers, max_request_bytes=LIMIT)
    try:
        producer.send(topic_of_this_test, value, key, headers, partition=0).get(timeout=60)
    except (TypeError, ValueError, MessageSizeTooLargeError):
        assert why is not None
    else:
        assert why is None


@pytest.fixture(scope="module")
def topic_of_this_test(topic) -> str:
    return topic()
