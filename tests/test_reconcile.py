"""Reconciliation on a real broker: a sound gate's topics close, and each fault is found where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import orjson
import pytest
from kafka import KafkaProducer

from pipeline.candidates import Batching
from pipeline.errors import PlaceRefused, SettingsError, Undecodable
from pipeline.follow import Follower
from pipeline.generated import catalogue_messages
from pipeline.produce import send
from pipeline.reconcile import read_verdicts, reconcile_topics
from pipeline.records import Output, Route
from pipeline.settings import Settings
from tests.small_gate import settle

pytestmark = pytest.mark.kafka

N = 120
N_MALFORMED = 12
MIXED = Batching(0.3, rows=10)


@pytest.fixture
def settings(kafka, topic: Callable[..., str]) -> Settings:
    """A gate that acts, with topics of its own, and a catalogue in its input."""
    return filled(gate(kafka.bootstrap_servers, topic))


def gate(servers: str, topic: Callable[..., str], *, passes: bool = True, **changed: object) -> Settings:
    names = ("input", "prune", "review", "reject", "pass" if passes else "audit")
    named = {name: topic(partitions=2, name=name) for name in names}
    return Settings(
        bundle="none",
        kafka={"bootstrap_servers": servers},
        topics={"pass": None, **named},
        gate={"group": f"group-of-{named['input']}", "enforce": True, **changed},
    )


def filled(settings: Settings) -> Settings:
    send(settings, catalogue_messages(N, seed=1, batching=MIXED, malformed=N_MALFORMED / N))
    return settings


def without(route: Route) -> Callable[[list[Output]], list[Output]]:
    """Lose the first message of a route, in each partition."""

    def change(outputs: list[Output]) -> list[Output]:
        first = next(at for at, output in enumerate(outputs) if output.route is route)
        return outputs[:first] + outputs[first + 1 :]

    return change


@pytest.mark.parametrize("form", ["arrow", "json"])
def test_a_sound_run_closes_and_adds_up(settings, form):
    publish = settings.publish.model_copy(update={"batch_verdicts": form})
    settle(settings.model_copy(update={"publish": publish}))
    report = reconcile_topics(settings)
    assert report.closed, report.examples
    assert report.candidates == N + N_MALFORMED
    assert report.rejected == N_MALFORMED
    assert report.prune + report.review + report.pass_ == N
    assert min(report.prune, report.review, report.pass_) > 0
    assert report.pending == 0


@pytest.mark.parametrize("route", [Route.PRUNE, Route.REVIEW, Route.PASS, Route.REJECT])
def test_whatever_is_lost_is_missing(settings, route):
    settle(settings, change=without(route))
    report = reconcile_topics(settings)
    assert not report.closed
    assert report.missing > 0
    assert (report.repeated, report.unexpected, report.out_of_order) == (0, 0, 0)
    assert report.examples[0].startswith(f"missing: {settings.topics.input}[")


def test_a_second_pass_over_the_same_input_is_repeated_within_a_run_and_not_across(settings):
    settle(settings, run=1)
    settle(settings, run=2)
    assert reconcile_topics(settings, run=1).closed
    assert reconcile_topics(settings, run=2).closed
    settle(settings, run=2)
    report = reconcile_topics(settings, run=2)
    assert report.repeated == N + N_MALFORMED
    assert (report.missing, report.unexpected, report.out_of_order) == (0, 0, 0)


def test_reordered_verdicts_are_out_of_order(settings):
    settle(settings, change=lambda outputs: outputs[::-1])
    report = reconcile_topics(settings)
    assert report.out_of_order > 0
    assert (report.missing, report.repeated, report.unexpected) == (0, 0, 0)


def test_what_the_group_has_not_committed_is_pending_unless_all_is_asked_for(settings):
    report = reconcile_topics(settings)
    assert report.closed
    assert report.candidates == 0
    assert report.pending > 0
    whole = reconcile_topics(settings, to_end=True)
    assert whole.missing == N + N_MALFORMED
    assert whole.pending == 0


def test_verdicts_beyond_the_committed_offsets_are_unexpected(settings, monkeypatch):
    monkeypatch.setattr("pipeline.reconcile._OFFSETS_LATE_S", 0.0)
    settle(settings, commit={0: 1})
    report = reconcile_topics(settings)
    assert report.unexpected > 0
    assert report.pending > 0
    assert report.missing == 0


def test_a_start_leaves_out_what_lies_before_it(settings):
    settle(settings)
    all_of_it = reconcile_topics(settings)
    later = reconcile_topics(settings, start={0: 10, 1: 10})
    assert later.closed
    assert 0 < later.candidates < all_of_it.candidates


@pytest.mark.parametrize(
    ("place", "says"), [({2: 0}, "0 to 1"), ({0: -1}, "from 0"), ({1: 9999}, "not 9999")]
)
def test_an_account_of_a_place_that_there_is_not_is_refused(settings, place, says):
    """It closed, with nothing in it, and the exit code was 0."""
    for option in ("start", "end"):
        with pytest.raises(PlaceRefused, match=says):
            reconcile_topics(settings, **{option: place})


def test_a_message_that_the_gate_did_not_write_is_unexpected(settings):
    settle(settings)
    producer = KafkaProducer(**settings.kafka)
    producer.send(settings.topics.prune, b"hello", partition=1)
    producer.send(settings.topics.reject, b"hello", partition=0)
    producer.flush(timeout=60)
    producer.close(timeout=60)
    report = reconcile_topics(settings)
    assert report.unexpected == 2
    assert f"unexpected: {settings.topics.prune}[1]@" in report.examples[0]


@pytest.mark.parametrize("enforce", [True, False])
def test_where_passes_are_not_sent_the_audits_close_the_account(kafka, topic, enforce):
    settings = filled(gate(kafka.bootstrap_servers, topic, passes=False, enforce=enforce))
    settle(settings)
    report = reconcile_topics(settings)
    assert report.closed, report.examples
    assert report.candidates == N + N_MALFORMED
    assert report.prune + report.review + report.pass_ == N
    assert (report.prune > 0) is enforce


def test_where_passes_are_not_sent_a_lost_prune_and_a_lost_audit_are_missing(kafka, topic):
    settings = filled(gate(kafka.bootstrap_servers, topic, passes=False))
    settle(settings, change=without(Route.PRUNE))
    assert reconcile_topics(settings).missing > 0
    settle(settings, run=2, change=without(Route.AUDIT))
    assert reconcile_topics(settings, run=2).missing == N + N_MALFORMED


def test_verdicts_are_read_back_alike_whether_arrow_or_json(settings):
    settle(settings)
    pruned = list(read_verdicts(settings, Route.PRUNE))
    assert len(pruned) == reconcile_topics(settings).prune
    assert {verdict["action"] for verdict in pruned} == {"prune"}
    assert len({verdict["candidate_id"] for verdict in pruned}) == len(pruned)
    assert list(read_verdicts(settings, Route.PRUNE, run=7)) == []


def test_a_missing_topic_is_named(settings):
    absent = settings.topics.model_copy(update={"prune": "absent"})
    with pytest.raises(SettingsError, match=r"topics.prune: there is no topic 'absent'"):
        reconcile_topics(settings.model_copy(update={"topics": absent}))


@pytest.fixture
def follower(settings) -> Iterator[Follower]:
    with Follower(settings, every_s=0.05) as follower:
        yield follower


def test_a_follower_sees_what_is_committed_while_it_looks(settings, follower):
    settle(settings)
    report = follower.report()
    assert report.closed, report.examples
    assert follower.n_seen == report.candidates == N + N_MALFORMED


class NotText(str):
    """A header name that goes over the wire as a byte that UTF-8 does not have."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff"


@pytest.fixture
def undecodable(kafka, topic) -> Settings:
    """A gate whose input holds a good message, one that no client decodes, and a good one."""
    settings = gate(kafka.bootstrap_servers, topic, on_undecodable="reject")
    producer = KafkaProducer(**settings.kafka)
    value = orjson.dumps({"candidate_id": "a", "query": "boots", "document": "Boot"})
    for headers in ([], [(NotText("h"), b"")], []):
        producer.send(settings.topics.input, value, headers=headers, partition=0)
        producer.flush(timeout=60)
    producer.close(timeout=60)
    return settings


def test_a_message_that_cannot_be_decoded_has_to_be_rejected_where_the_gate_rejects_it(undecodable):
    report = reconcile_topics(undecodable, to_end=True)
    assert report.candidates == report.missing == 3
    source = undecodable.topics.input
    assert report.examples == tuple(f"missing: {source}[0]@{at}" for at in ("0#0", "1#-1", "2#0"))


def test_a_message_that_cannot_be_decoded_stops_the_account_where_it_stops_the_gate(undecodable):
    stops = undecodable.gate.model_copy(update={"on_undecodable": "stop"})
    with pytest.raises(Undecodable, match="@1:"):
        reconcile_topics(undecodable.model_copy(update={"gate": stops}), to_end=True)


def test_a_candidate_as_a_person_would_write_it_closes(kafka, topic):
    """Input that was not made by `sluice produce`."""
    settings = gate(kafka.bootstrap_servers, topic)
    producer = KafkaProducer(**settings.kafka)
    for name in "abc":
        value = {"candidate_id": name, "query": "boots", "document": "Boot"}
        producer.send(settings.topics.input, orjson.dumps(value))
    producer.flush(timeout=60)
    producer.close(timeout=60)
    settle(settings)
    report = reconcile_topics(settings)
    assert report.closed
    assert report.candidates == 3
