from __future__ import annotations

import pytest

from pipeline.errors import BrokerUnreachable, TransientError
from pipeline.publisher import Publisher
from pipeline.session import Session
from pipeline.settings import Settings
from tests.fakes import RecordingTransactor, ScriptedMember


def session() -> tuple[Session, RecordingTransactor, ScriptedMember]:
    producer, member = RecordingTransactor(), ScriptedMember({})
    return Session(producer, member, Publisher(producer, {}, run=1)), producer, member


def test_leaving_it_closes_both_ends_and_keeps_the_place_in_the_group() -> None:
    opened, producer, member = session()
    with opened:
        assert (producer.calls, member.left) == ([], None)
    assert (producer.calls, member.left) == (["close"], False)


def test_a_gate_that_stops_gives_its_partitions_back() -> None:
    opened, _, member = session()
    with opened:
        opened.leaving = True
    assert member.left is True


def test_an_error_closes_both_ends_and_goes_on() -> None:
    opened, producer, member = session()
    with pytest.raises(TransientError), opened:
        raise TransientError("publishing", "the broker is away")
    assert (producer.calls, member.left) == (["close"], False)


def test_without_a_broker_it_does_not_open() -> None:
    kafka = {"bootstrap_servers": "127.0.0.1:1", "bootstrap_timeout_ms": 300}
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
        Session.open(Settings(bundle="b", kafka=kafka), {})


@pytest.mark.kafka
def test_the_producer_is_initialised_before_the_member_joins(kafka, topic) -> None:
    name = topic()
    settings = Settings(
        bundle="b",
        kafka={"bootstrap_servers": kafka.bootstrap_servers},
        topics={"input": name},
        gate={"group": name},
    )
    with Session.open(settings, {}) as opened:
        assert opened._producer.reusable
        assert opened.member.revoked, "no partition is this gate's before it has polled"
        opened.leaving = True
