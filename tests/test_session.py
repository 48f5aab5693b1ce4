from __future__ import annotations

import pytest

from pipeline.errors import BrokerUnreachable, TransientError
from pipeline.kafka.member import ASKING_S
from pipeline.kafka.transaction import COMMITTING_S, Delivery
from pipeline.publisher import Publisher
from pipeline.session import Session, longest_turn_s
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


def test_a_turn_may_take_what_a_slow_broker_makes_it_take() -> None:
    """A publish that was slow and alive outlasted the 60 s after which the gate was taken for dead."""
    joined_and_published_s = ASKING_S + COMMITTING_S + ASKING_S + COMMITTING_S
    assert longest_turn_s(Settings(bundle="b")) > joined_and_published_s


@pytest.mark.parametrize("setting", ["bootstrap_timeout_ms", "request_timeout_ms"])
def test_patience_with_the_broker_follows_the_settings_of_the_client(setting: str) -> None:
    patient = Settings(bundle="b", kafka={"bootstrap_servers": "a:1", setting: 100_000})
    assert longest_turn_s(patient) > 200


def test_a_commit_is_given_up_before_the_broker_ends_the_transaction(monkeypatch) -> None:
    """After the broker's time-out it looks like another gate's, and the gate ended as fenced."""
    built: dict[str, Delivery] = {}

    def build(kafka: object, *, transactional_id: str, delivery: Delivery) -> RecordingTransactor:
        built["delivery"] = delivery
        return RecordingTransactor({"init": TransientError("starting", "enough was seen")})

    monkeypatch.setattr("pipeline.session.TransactionalProducer", build)
    with pytest.raises(TransientError):
        Session.open(Settings(bundle="b", publish={"transaction_timeout_s": 7}), {})
    assert built["delivery"].deadline_s == 7


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
