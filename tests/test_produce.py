"""Sending: counted, paced, and with the broker when it returns."""

from __future__ import annotations

import time

import pytest

from pipeline.candidates import Message
from pipeline.errors import SettingsError
from pipeline.kafka import topics
from pipeline.produce import send
from pipeline.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka, topic) -> Settings:
    return Settings(
        bundle="none",
        kafka={"bootstrap_servers": kafka.bootstrap_servers},
        topics={"input": topic(partitions=2)},
    )


def numbered(n: int) -> list[Message]:
    return [Message(b"%d" % i, b"v", n_candidates=2, n_malformed=1) for i in range(n)]


def test_everything_is_counted_and_with_the_broker(settings):
    said = []
    produced = send(settings, numbered(1200), on_progress=said.append)
    assert (produced.messages, produced.candidates, produced.malformed) == (1200, 2400, 1200)
    assert [one.messages for one in said] == [500, 1000, 1200]
    ends = topics.extents(settings.kafka, settings.topics.input).values()
    assert sum(extent.last_stable for extent in ends) == 1200


def test_a_rate_is_kept(settings):
    began = time.monotonic()
    produced = send(settings, numbered(21), rate=20)
    assert 1.0 <= produced.seconds <= time.monotonic() - began


def test_a_missing_topic_is_named_and_not_created(settings):
    absent = settings.model_copy(update={"topics": settings.topics.model_copy(update={"input": "absent"})})
    with pytest.raises(SettingsError, match=r"topics.input: there is no topic 'absent'"):
        send(absent, numbered(1))
    assert topics.partition_counts(settings.kafka, ["absent"]) == {"absent": None}
