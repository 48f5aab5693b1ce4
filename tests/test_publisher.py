from __future__ import annotations

import pytest

from pipeline.codec import pack_outputs, parse_audit
from pipeline.errors import InvariantBroken, TransientError
from pipeline.kafka.member import Assignment
from pipeline.publisher import Destination, Publisher
from pipeline.records import Claim, Completed, Counts, Mode, Output, Route, TopicPartition
from tests.fakes import RecordingTransactor

A, B = TopicPartition("in", 0), TopicPartition("in", 5)
PLACES = {Route.PRUNE: Destination("out.prune", 8), Route.PASS: Destination("out.pass", 4)}
GROUP = object()
ASSIGNMENT = Assignment(1, {A: 0, B: 100}, {}, GROUP)


def completed(source: TopicPartition, start: int, end: int, *outputs: Output) -> Completed:
    claim = Claim(source, start, end, 1, Mode.ENFORCE)
    return Completed(claim, pack_outputs(outputs), Counts(pass_=end - start, records=end - start))


def output(route: Route, value: bytes = b"v") -> Output:
    return Output(route, b"k", value, [("h", b"1"), ("h", b"2")])


def test_one_transaction_holds_messages_then_offsets_in_the_promised_order() -> None:
    producer = RecordingTransactor()
    batch = [
        completed(A, 0, 10, output(Route.PRUNE, b"1"), output(Route.PASS, b"2")),
        completed(B, 100, 103, output(Route.PASS, b"3")),
        completed(A, 10, 20),
    ]
    offsets = Publisher(producer, PLACES, run=1).publish(batch, ASSIGNMENT)
    assert producer.calls == ["begin", "send", "send", "send", "confirm", "commit_offsets", "commit"]
    assert offsets == producer.committed == {A: 20, B: 103}
    assert producer.groups == [GROUP], "the snapshot that the claims were cut under"
    assert [value for _, _, value, _ in producer.sent] == [b"1", b"2", b"3"]


def test_the_output_partition_follows_from_the_input_partition() -> None:
    producer = RecordingTransactor()
    batch = [completed(B, 100, 101, output(Route.PRUNE), output(Route.PASS))]
    Publisher(producer, PLACES, run=1).publish(batch, ASSIGNMENT)
    targets = [target for target, *_ in producer.sent]
    assert targets == [TopicPartition("out.prune", 5), TopicPartition("out.pass", 1)]
    assert producer.sent[0][1:] == (b"k", b"v", [("h", b"1"), ("h", b"2")])


def test_counts_go_to_the_audit_where_there_is_one() -> None:
    producer = RecordingTransactor()
    places = {**PLACES, Route.AUDIT: Destination("out.audit", 1)}
    Publisher(producer, places, run=7).publish([completed(B, 100, 103)], ASSIGNMENT)
    ((target, _, value, _),) = producer.sent
    audit = parse_audit(value or b"")
    assert target == TopicPartition("out.audit", 0)
    assert (audit.source, audit.start, audit.end, audit.run) == (B, 100, 103, 7)
    assert audit.counts == Counts(pass_=3, records=3)


def test_a_message_for_a_route_that_is_off_is_refused_before_anything_is_sent() -> None:
    producer = RecordingTransactor()
    with pytest.raises(InvariantBroken, match="review"):
        Publisher(producer, PLACES, run=1).publish([completed(A, 0, 1, output(Route.REVIEW))], ASSIGNMENT)
    assert producer.calls == []


@pytest.mark.parametrize(
    "batch",
    [
        [completed(A, 0, 10), completed(A, 11, 20)],
        [completed(A, 0, 10), completed(A, 5, 20)],
        [completed(TopicPartition("in", 1), 0, 1)],
    ],
    ids=["a gap", "an overlap", "a partition of others"],
)
def test_offsets_out_of_order_are_refused_before_anything_is_sent(batch: list[Completed]) -> None:
    producer = RecordingTransactor()
    with pytest.raises(InvariantBroken):
        Publisher(producer, PLACES, run=1).publish(batch, ASSIGNMENT)
    assert producer.calls == []


@pytest.mark.parametrize("verb", ["begin", "send", "confirm", "commit_offsets", "commit"])
def test_whatever_goes_wrong_nothing_is_tried_after_it(verb: str) -> None:
    producer = RecordingTransactor({verb: TransientError(verb, "the broker is away")})
    with pytest.raises(TransientError):
        Publisher(producer, PLACES, run=1).publish([completed(A, 0, 1, output(Route.PASS))], ASSIGNMENT)
    assert producer.calls[-1] == verb
    assert producer.committed == {}


def test_a_producer_in_doubt_begins_nothing_and_the_session_can_be_rebuilt() -> None:
    """A lost answer to EndTxn ended the gate with a broken invariant, where a new session was due."""
    producer = RecordingTransactor()
    producer.reusable = False
    publisher = Publisher(producer, PLACES, run=1)
    with pytest.raises(TransientError):
        publisher.publish([completed(A, 0, 1)], ASSIGNMENT)
    with pytest.raises(TransientError):
        publisher.commit_positions({A: 3}, ASSIGNMENT)
    assert producer.calls == []


def test_positions_are_committed_by_themselves_with_their_note() -> None:
    producer = RecordingTransactor()
    Publisher(producer, PLACES, run=1).commit_positions({A: 3}, ASSIGNMENT, note="n")
    assert producer.calls == ["begin", "confirm", "commit_offsets", "commit"]
    assert producer.committed == {A: 3}
    assert producer.notes == {A: "n"}
    assert producer.groups == [GROUP]


def test_the_note_goes_with_the_offsets_of_a_batch_and_the_next_replaces_it() -> None:
    producer = RecordingTransactor()
    publisher = Publisher(producer, PLACES, run=1)
    publisher.publish([completed(A, 0, 10), completed(B, 100, 103)], ASSIGNMENT, note="n")
    assert producer.notes == {A: "n", B: "n"}
    publisher.publish([completed(A, 10, 20)], ASSIGNMENT)
    assert producer.notes == {A: "", B: "n"}
