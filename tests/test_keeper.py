"""The keeper's rules, turn by turn: its group, its broker and its executions are fakes, its books are real."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from actors.bundle import Bundle
from pipeline.codec import pack_outputs
from pipeline.errors import (
    BeyondEnd,
    BrokerUnreachable,
    ExecutionFailed,
    Fenced,
    InvariantBroken,
    OffsetsLost,
    SettingsError,
    TransientError,
    Undecodable,
)
from pipeline.execution import Outcome
from pipeline.kafka.member import Assignment, Ends
from pipeline.keeper import TURN_S, Keeper
from pipeline.link import Halted, Unread, Warm
from pipeline.publisher import Destination, Publisher
from pipeline.records import Action, Claim, Completed, Counts, Mode, Output, Route, TopicPartition
from pipeline.session import Session
from pipeline.settings import Settings
from pipeline.supervisor import MAX_FAILED_STARTS
from tests.fakes import FakeExecution, RecordingTransactor, ScriptedMember, stand_in_bundle

A, ADDED = TopicPartition("in", 0), TopicPartition("in", 5)
PLACES = {route: Destination(f"out.{route}", 1) for route in Route if route is not Route.AUDIT}
AWAY = TransientError("publishing", "the broker is away", 0.01)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return stand_in_bundle(tmp_path_factory.mktemp("keeper"))


class Bench:
    """One keeper; a partition that holds `end` offsets, of which those in `bad` would be pruned.

    Every session goes on from what the ones before have committed, as on a real broker.
    """

    def __init__(
        self, bundle: Bundle, *, end: int = 10, until_drained: bool = False, **sections: Any
    ) -> None:
        sections.setdefault("publish", {"linger_s": 0})
        self.settings = Settings(bundle=str(bundle.path), http={"port": 0}, **sections)
        self.end = end
        self.bad: set[int] = set()
        self.answers = False
        """Executions answer by themselves, at once."""
        self.producers: list[RecordingTransactor] = []
        self.members: list[ScriptedMember] = []
        self.executions: list[FakeExecution] = []
        self.failures: list[Exception] = []
        """What opening a session raises, one after the other."""
        self.producer_fails: list[dict[str, Exception]] = []
        """What the producer of each session raises, by verb."""
        self.not_ready_at_open: list[str | None] = []
        self.note_found = ""
        """What a predecessor left with the position."""
        self.stillborn: Outcome | None = None
        """How executions end before they are warm, if they do."""
        self.keeper = Keeper(
            self.settings,
            PLACES,
            bundle,
            until_drained=until_drained,
            open_session=self._open,
            start=self._start,
        )

    def _open(self) -> Session:
        self.not_ready_at_open.append(self.keeper._view.not_ready())
        if self.failures:
            raise self.failures.pop(0)
        fails = self.producer_fails.pop(0) if self.producer_fails else {}
        producer, member = RecordingTransactor(fails), ScriptedMember({A: self.end})
        member.assign({A: self.committed}, notes={A: self.note} if self.note else {})
        self.producers.append(producer)
        self.members.append(member)
        return Session(producer, member, Publisher(producer, PLACES, run=1))

    def _start(self, number: int) -> FakeExecution:
        execution = _Answering(number, self) if self.answers else FakeExecution(number)
        if self.stillborn is not None:
            execution.ended = self.stillborn
        else:
            execution.give(Warm())
        self.executions.append(execution)
        return execution

    @property
    def committed(self) -> int:
        return max([0, *(producer.committed.get(A, 0) for producer in self.producers)])

    @property
    def note(self) -> str:
        """What was committed last along with the position."""
        notes = [producer.notes[A] for producer in self.producers if A in producer.notes]
        return notes[-1] if notes else self.note_found

    @property
    def published(self) -> list[tuple[str, int]]:
        """(topic, offset) of every verdict in a transaction that was committed."""
        return [
            (target.topic, int(value or b""))
            for producer in self.producers
            for target, _, value, _ in producer.sent
            if producer.calls.count("commit") and "commit" not in producer.fails
        ]

    @property
    def execution(self) -> FakeExecution:
        return self.executions[-1]

    def answer(self, claim: Claim) -> Completed:
        """What a replica gives back for a claim: a verdict per offset, with the offset for a value."""
        actions = [Action.PRUNE if at in self.bad else Action.PASS for at in range(claim.start, claim.end)]
        outputs = [
            Output(claim.mode.route(action), None, str(claim.start + i).encode(), ())
            for i, action in enumerate(actions)
        ]
        n_bad = actions.count(Action.PRUNE)
        counts = Counts(prune=n_bad, pass_=len(actions) - n_bad, records=len(actions))
        return Completed(claim, pack_outputs(outputs), counts)

    def open(self) -> AbstractContextManager[Session]:
        """A session that the test turns by hand, with a warm execution."""
        self.keeper._supervisor.tend(wanted=True, n_out=0)
        return self._open()

    def turn(self, session: Session, until: Callable[[], object], *, within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        while not until():
            assert time.monotonic() < deadline, "it never came"
            self.keeper._turn(session)

    def turn_for(self, session: Session, seconds: float) -> None:
        """So long, and a few times however slow the machine is."""
        deadline, n_turns = time.monotonic() + seconds, 0
        while time.monotonic() < deadline or n_turns < 5:
            self.keeper._turn(session)
            n_turns += 1

    def turn_until_it_raises(self, session: Session) -> None:
        self.turn(session, lambda: False)

    def handed(self) -> list[Claim]:
        return [claim for execution in self.executions for claim in execution.handed]

    def give(self, claims: Iterable[Claim]) -> None:
        self.execution.give(*map(self.answer, claims))


class _Answering(FakeExecution):
    def __init__(self, number: int, bench: Bench) -> None:
        super().__init__(number)
        self._bench = bench

    def hand(self, claims: Iterable[Claim]) -> None:
        claims = list(claims)
        super().hand(claims)
        self.give(*map(self._bench.answer, claims))


def counter(bench: Bench, name: str) -> float:
    text = bench.keeper._metrics.exposition().decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


# --- from claim to commit


def test_what_is_handed_out_and_comes_back_is_committed_once(bundle: Bundle) -> None:
    bench = Bench(bundle, end=10)
    with bench.open() as session:
        bench.turn(session, bench.handed)
        bench.give(bench.handed())
        bench.turn(session, lambda: bench.committed == 10)
    assert bench.published == [("out.pass", offset) for offset in range(10)]


def test_the_start_of_a_new_group_is_committed_before_the_first_claim(bundle: Bundle) -> None:
    bench = Bench(bundle)
    with bench.open() as session:
        bench.members[0].poll(0)
        bench.members[0].assign({A: 3}, fresh={A: 3})
        bench.keeper._join(session)
        assert bench.producers[0].committed == {A: 3}
        assert bench.handed() == []


def test_until_drained_ends_when_everything_is_committed_and_leaves_the_group(bundle: Bundle) -> None:
    bench = Bench(bundle, end=1000, until_drained=True)
    bench.answers = True
    bench.keeper.run()
    assert bench.committed == 1000
    assert sorted(offset for _, offset in bench.published) == list(range(1000))
    assert bench.members[0].left is True
    assert bench.execution.closed


def test_until_drained_a_gate_that_owns_nothing_is_done_once_it_knows(bundle: Bundle) -> None:
    """It waited for ever, where the group had more gates than partitions."""
    bench = Bench(bundle, until_drained=True)
    with bench.open() as session:
        member = bench.members[0]
        member._coming.clear()
        bench.keeper._turn(session)
        assert not bench.keeper._done(), "nothing is assigned yet"
        member._coming.append(Assignment(1, {}, {}, object(), revoked=True))
        bench.keeper._turn(session)
        assert not bench.keeper._done(), "the next assignment may bring some"
        member.assign({})
        bench.keeper._turn(session)
        assert bench.keeper._done()


def test_while_what_is_ready_lingers_the_loop_waits_and_does_not_spin(bundle: Bundle) -> None:
    """For each transaction the loop turned as fast as it could, for as long as `linger_s`: a core at a trickle."""
    bench = Bench(bundle, publish={"linger_s": 100})
    with bench.open() as session:
        bench.turn(session, bench.handed)
        bench.give(bench.handed())
        bench.turn(session, lambda: bench.keeper._ready)
        bench.keeper._turn(session)
        assert bench.execution.waited[-1] == TURN_S
        assert bench.committed == 0


def test_what_came_in_lately_is_counted_and_not_what_was_there_before(bundle: Bundle) -> None:
    bench = Bench(bundle, end=1_000_000)
    with bench.open() as session:
        bench.turn(session, bench.handed)
        bench.members[0].ends[A] += 500
        bench.turn(session, lambda: bench.keeper._coming == 500)


def test_a_full_transaction_does_not_linger(bundle: Bundle) -> None:
    bench = Bench(bundle, publish={"linger_s": 100, "max_messages": 5})
    with bench.open() as session:
        bench.turn(session, bench.handed)
        bench.give(bench.handed())
        bench.turn(session, lambda: bench.committed == 10)


# --- rebalances and broken sessions


def test_after_a_rebalance_between_scoring_and_commit_nothing_is_published_and_all_is_cut_again(
    bundle: Bundle,
) -> None:
    bench = Bench(bundle, publish={"linger_s": 0.2})
    with bench.open() as session:
        bench.turn(session, bench.handed)
        old = bench.handed()
        bench.give(old)
        bench.turn(session, lambda: bench.keeper._ready)
        bench.members[0].revoked = True
        bench.turn_for(session, 0.3)
        assert bench.producers[0].calls == []
        bench.members[0].assign({A: 0})
        bench.turn(session, lambda: len(bench.handed()) > len(old))
        new = bench.handed()[len(old) :]
        assert [(claim.start, claim.end) for claim in new] == [(claim.start, claim.end) for claim in old]
        assert new[0].assignment > old[0].assignment
        bench.give(old)
        bench.turn_for(session, 0.3)
        assert bench.producers[0].calls == [], "what an earlier assignment asked for is dropped"
        assert counter(bench, "sluice_dropped_claims_total") == len(old)
        bench.give(new)
        bench.turn(session, lambda: bench.committed == 10)
    assert bench.published == [("out.pass", offset) for offset in range(10)]


def test_partitions_that_are_added_get_output_partitions_of_their_own(bundle: Bundle) -> None:
    """A running gate folded them onto the output partitions that there were when it started."""
    bench = Bench(bundle, gate={"enforce": True})
    grown = {route: replace(place, n_partitions=8) for route, place in PLACES.items()}
    bench.keeper._look_up = lambda: grown
    places = bench.keeper._destinations
    with bench.open() as session:
        bench.turn(session, bench.handed)
        assert places == PLACES, "nothing was added"
        bench.members[0].ends[ADDED] = 5
        bench.members[0].assign({A: 0, ADDED: 0})
        bench.keeper._join(session)
    assert places[Route.PRUNE].of(ADDED) == TopicPartition("out.prune", 5)


@pytest.mark.parametrize("verb", ["begin", "send", "confirm", "commit_offsets", "commit"])
def test_a_failed_transaction_ends_the_session_and_never_the_execution(bundle: Bundle, verb: str) -> None:
    bench = Bench(bundle, until_drained=True)
    bench.answers = True
    bench.producer_fails = [{verb: AWAY}]
    bench.keeper.run()
    assert len(bench.producers) == 2
    assert bench.producers[0].calls[-1] == "close"
    assert bench.members[0].left is False
    assert len(bench.executions) == 1
    assert bench.published == [("out.pass", offset) for offset in range(10)]
    assignments = [claim.assignment for claim in bench.handed()]
    assert assignments[0] < assignments[-1], "the books are new"


def test_what_a_session_leaves_in_cycles_is_gone_before_the_next(bundle: Bundle) -> None:
    """Sockets were left so, and the collector came by so seldom that they added up."""
    left = threading.Event()
    left.itself = left
    bench = Bench(bundle, until_drained=True)
    bench.answers = True
    bench.producer_fails = [{"commit": AWAY}]
    seen = weakref.ref(left)
    del left
    gc.disable()
    try:
        bench.keeper.run()
    finally:
        gc.enable()
    assert len(bench.producers) == 2
    assert seen() is None


def test_a_gate_that_is_fenced_does_not_try_again(bundle: Bundle) -> None:
    bench = Bench(bundle)
    bench.answers = True
    bench.producer_fails = [{"commit_offsets": Fenced("sluice-0")}]
    with pytest.raises(Fenced):
        bench.keeper.run()
    assert len(bench.producers) == 1
    assert bench.members[0].left is False
    assert bench.execution.closed


@pytest.mark.parametrize("trouble", [AWAY, BrokerUnreachable("b:1", 10.0)], ids=["away", "unreachable"])
def test_a_session_that_cannot_be_built_is_tried_again(bundle: Bundle, trouble: Exception) -> None:
    bench = Bench(bundle, until_drained=True)
    bench.answers = True
    bench.failures = [trouble]
    bench.keeper.run()
    assert bench.committed == 10


def test_a_session_that_cannot_be_built_within_its_deadline_ends_the_gate(bundle: Bundle) -> None:
    """The error that the deadline raised was taken for one more reason to try again, for ever."""
    bench = Bench(bundle, publish={"rebuild_deadline_s": 0.05})
    bench.failures = [AWAY] * 1000
    with pytest.raises(TransientError):
        bench.keeper.run()
    assert bench.execution.closed


def test_a_first_transaction_that_always_fails_ends_the_gate_too(bundle: Bundle) -> None:
    """Each session could be built, and none could commit: the gate went on rebuilding for ever."""
    bench = Bench(bundle, publish={"linger_s": 0, "rebuild_deadline_s": 0.3})
    bench.answers = True
    bench.producer_fails = [{"commit": AWAY}] * 1000
    with pytest.raises(TransientError):
        bench.keeper.run()
    assert bench.committed == 0


def test_while_the_session_is_built_anew_the_gate_is_not_ready(bundle: Bundle) -> None:
    """`/readyz` went on showing the last turn of the session that had ended."""
    bench = Bench(bundle, until_drained=True)
    bench.answers = True
    bench.producer_fails = [{"commit": AWAY}]
    bench.keeper.run()
    assert bench.not_ready_at_open == ["starting", "no partitions are assigned"]


def test_a_partition_without_a_leader_is_told_once_and_holds_up_no_other(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(bundle, end=10)
    bench.answers = True
    with bench.open() as session:
        bench.members[0].assign({A: 0, ADDED: 7})
        bench.turn(session, lambda: bench.committed == 10)
        bench.turn_for(session, 0.3)
        assert caplog.text.count("in[5]@7: the partition has no leader") == 1
        bench.members[0].ends[ADDED] = 9
        bench.turn(session, lambda: any(claim.source == ADDED for claim in bench.handed()))


def test_a_topic_that_was_made_anew_ends_the_session_that_knows_the_old_one(bundle: Bundle) -> None:
    """The gate was ready and did nothing until the new topic was as long as the old one, and never read that."""
    bench = Bench(bundle, end=10)
    with bench.open() as session:
        bench.turn(session, bench.handed)
        bench.give(bench.handed())
        bench.turn(session, lambda: bench.committed == 10)
        bench.members[0].ends[A] = 4
        with pytest.raises(TransientError, match="it ends at 4, and 10 is committed"):
            bench.turn_until_it_raises(session)


def test_a_transaction_that_is_still_open_makes_no_partition_end_early(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offsets that another tool had set to the end, behind an open transaction, ended the gate with 65."""
    bench = Bench(bundle, end=10)
    with bench.open() as session:
        bench.turn(session, bench.handed)
        bench.give(bench.handed())
        bench.turn(session, lambda: bench.committed == 10)
        monkeypatch.setattr(bench.members[0], "end_offsets", lambda: {A: Ends(4, 12)})
        bench.turn_for(session, 0.3)
        monkeypatch.setattr(bench.members[0], "end_offsets", lambda: {A: Ends(12, 12)})
        bench.turn(session, lambda: any(claim.start == 10 for claim in bench.handed()))


def test_where_the_group_itself_is_beyond_the_end_the_gate_stops_by_name(bundle: Bundle) -> None:
    bench = Bench(bundle, end=10)
    bench.answers = True
    with bench.open() as session:
        bench.turn(session, lambda: bench.committed == 10)
    bench.end = 4
    with pytest.raises(BeyondEnd, match=r"in\[0\]@10 is committed, and the partition ends at 4"):
        bench.keeper.run()
    assert len(bench.members) == 3, "it asked the group once more"


# --- the brake and the mode


def test_without_enforce_everything_passes_and_the_action_is_recorded(bundle: Bundle) -> None:
    bench = Bench(bundle, gate={"enforce": False, "max_prune_share": 0.1, "brake_window": 10})
    bench.bad = set(range(10))
    with bench.open() as session:
        bench.turn(session, bench.handed)
        assert {claim.mode for claim in bench.handed()} == {Mode.OBSERVE}
        bench.give(bench.handed())
        bench.turn(session, lambda: bench.committed == 10)
        assert not bench.keeper._brake.on, "where nothing is pruned nothing trips it"
        assert bench.note == ""
    assert {topic for topic, _ in bench.published} == {"out.pass"}
    assert counter(bench, 'sluice_verdicts_total{action="prune"}') == 10


BRAKE = {"enforce": True, "max_prune_share": 0.2, "brake_window": 10}


def test_the_batch_that_trips_the_brake_is_cut_again_and_nothing_of_it_is_pruned(bundle: Bundle) -> None:
    bench = Bench(bundle, gate=BRAKE)
    bench.bad = {1, 2, 3}
    with bench.open() as session:
        bench.turn(session, bench.handed)
        first = bench.handed()
        assert {claim.mode for claim in first} == {Mode.ENFORCE}
        bench.give(first)
        bench.turn(session, lambda: len(bench.handed()) > len(first))
        again = bench.handed()[len(first) :]
        assert bench.published == []
        assert {claim.mode for claim in again} == {Mode.BRAKED}
        bench.give(again)
        bench.turn(session, lambda: bench.committed == 10)
        assert {offset for topic, offset in bench.published if topic == "out.review"} == {1, 2, 3}
        assert not [offset for topic, offset in bench.published if topic == "out.prune"]
        bench.end = bench.members[0].ends[A] = 20
        bench.bad = {15}
        bench.turn(session, lambda: bench.handed()[-1].start >= 10)
        assert bench.handed()[-1].mode is Mode.BRAKED, "it holds"
        before = len(bench.handed())
        bench.keeper._view.lift_brake()
        bench.turn(session, lambda: len(bench.handed()) > before)
        lifted = bench.handed()[before:]
        assert {claim.mode for claim in lifted} == {Mode.ENFORCE}
        bench.give(lifted)
        bench.turn(session, lambda: bench.committed == 20)
    assert [offset for topic, offset in bench.published if topic == "out.prune"] == [15]


def test_lifting_a_brake_that_is_not_on_leaves_the_claims_alone(bundle: Bundle) -> None:
    """Whatever was being scored was thrown away and scored once more."""
    bench = Bench(bundle, gate=BRAKE)
    with bench.open() as session:
        bench.turn(session, bench.handed)
        claims = bench.handed()
        bench.keeper._view.lift_brake()
        bench.turn_for(session, 0.1)
        assert bench.handed() == claims


def test_a_session_that_was_rebuilt_does_not_fill_the_brake_s_window_twice(bundle: Bundle) -> None:
    bench = Bench(bundle, until_drained=True, gate={**BRAKE, "brake_window": 15})
    bench.answers = True
    bench.bad = {0, 1, 2}
    bench.producer_fails = [{"commit": AWAY}, {"commit": AWAY}]
    bench.keeper.run()
    assert not bench.keeper._brake.on
    assert {offset for topic, offset in bench.published if topic == "out.prune"} == {0, 1, 2}


NOTE = "sluice/1 braked"


def test_a_trip_and_a_lift_are_committed_at_once_and_every_commit_in_between_says_braked(
    bundle: Bundle,
) -> None:
    bench = Bench(bundle, gate=BRAKE)
    bench.bad = {1, 2, 3}
    with bench.open() as session:
        bench.turn(session, bench.handed)
        first = bench.handed()
        bench.give(first)
        bench.turn(session, lambda: bench.note == NOTE)
        assert bench.committed == 0, "nothing else is needed for it"
        bench.turn(session, lambda: len(bench.handed()) > len(first))
        bench.give(bench.handed()[len(first) :])
        bench.turn(session, lambda: bench.committed == 10)
        assert bench.note == NOTE
        bench.keeper._view.lift_brake()
        bench.turn(session, lambda: not bench.note)
        n_calls = len(bench.producers[0].calls)
        bench.turn_for(session, 0.1)
        assert len(bench.producers[0].calls) == n_calls, "once is enough"
    assert bench.committed == 10


def test_the_successor_of_a_braked_gate_begins_braked_and_says_so(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """A restart lifted the brake, and so did a partition's move to another gate, without a word."""
    bench = Bench(bundle, gate=BRAKE)
    bench.note_found = NOTE
    bench.bad = {5}
    with bench.open() as session:
        bench.turn(session, bench.handed)
        assert {claim.mode for claim in bench.handed()} == {Mode.BRAKED}
        assert bench.keeper._view.status()["mode"] == "braked"
        (said,) = [record for record in caplog.records if "the brake is on" in record.message]
        assert said.levelname == "ERROR"
        assert "in[0]" in said.message
        assert "POST /brake/lift" in said.message
        bench.give(bench.handed())
        bench.turn(session, lambda: bench.committed == 10)
        assert bench.note == NOTE
        bench.members[0].assign({A: 10}, notes={A: NOTE})
        bench.turn_for(session, 0.05)
    assert ("out.review", 5) in bench.published
    assert caplog.text.count("the brake is on") == 1, "it is said once"


def test_a_gate_that_only_observes_remembers_the_brake_and_can_lift_it(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(bundle, gate={**BRAKE, "enforce": False})
    bench.note_found = NOTE
    with bench.open() as session:
        bench.turn(session, bench.handed)
        assert {claim.mode for claim in bench.handed()} == {Mode.OBSERVE}
        assert "once gate.enforce is true" in caplog.text
        bench.give(bench.handed())
        bench.turn(session, lambda: bench.committed == 10)
        assert bench.note == NOTE
        bench.keeper._view.lift_brake()
        bench.turn(session, lambda: not bench.note)


def test_a_lift_whose_commit_failed_holds_in_the_next_session(bundle: Bundle) -> None:
    bench = Bench(bundle, until_drained=True, gate=BRAKE)
    bench.answers = True
    bench.note_found = NOTE
    bench.bad = {5}
    bench.producer_fails = [{"begin": AWAY}]
    bench.keeper._view.lift_brake()
    bench.keeper.run()
    assert len(bench.producers) == 2
    assert bench.note == ""
    assert ("out.prune", 5) in bench.published


def test_a_lift_in_the_middle_of_a_rebalance_lifts_what_the_next_assignment_brings(bundle: Bundle) -> None:
    bench = Bench(bundle, gate=BRAKE)
    bench.note_found = NOTE
    with bench.open() as session:
        member = bench.members[0]
        (coming,) = member._coming
        member._coming.clear()
        member._coming.append(Assignment(1, {}, {}, object(), revoked=True))
        bench.keeper._view.lift_brake()
        bench.keeper._turn(session)
        member._coming.append(coming)
        bench.turn(session, bench.handed)
        assert {claim.mode for claim in bench.handed()} == {Mode.ENFORCE}


def test_a_brake_that_tripped_while_the_group_moved_on_is_noted_under_the_next_assignment(
    bundle: Bundle,
) -> None:
    bench = Bench(bundle, gate=BRAKE)
    bench.bad = set(range(10))
    with bench.open() as session:
        bench.turn(session, bench.handed)
        bench.members[0].revoked = True
        bench.give(bench.handed())
        bench.turn(session, lambda: bench.keeper._brake.on)
        bench.turn_for(session, 0.1)
        assert bench.producers[0].calls == [], "another gate may own it by now"
        bench.members[0].assign({A: 0})
        bench.turn(session, lambda: bench.note == NOTE)


# --- what comes back instead of a verdict


def lost(claim: Claim, n: int) -> Completed:
    return Completed(claim.part(claim.start, claim.start + n), pack_outputs([]), Counts(), lost=n)


def test_lost_offsets_stop_the_gate(bundle: Bundle) -> None:
    bench = Bench(bundle)
    with bench.open() as session:
        bench.turn(session, bench.handed)
        bench.execution.give(lost(bench.handed()[0], 4))
        with pytest.raises(OffsetsLost) as gone:
            bench.turn_until_it_raises(session)
    assert (gone.value.wanted, gone.value.earliest) == (0, 4)
    assert bench.committed == 0


def test_lost_offsets_are_counted_and_passed_over_where_the_settings_say_so(bundle: Bundle) -> None:
    bench = Bench(bundle, gate={"on_lost": "skip"})
    with bench.open() as session:
        bench.turn(session, bench.handed)
        (claim,) = bench.handed()
        bench.execution.give(lost(claim, 4))
        bench.give([claim.part(4, 10)])
        bench.turn(session, lambda: bench.committed == 10)
    assert counter(bench, "sluice_lost_offsets_total") == 4
    assert [offset for _, offset in bench.published] == [4, 5, 6, 7, 8, 9]


def test_an_unread_claim_is_handed_again_after_a_pause(bundle: Bundle) -> None:
    bench = Bench(bundle)
    with bench.open() as session:
        bench.turn(session, bench.handed)
        (claim,) = bench.handed()
        bench.give([claim.part(0, 4)])
        began = time.monotonic()
        bench.execution.give(Unread(claim.part(4, 10), "the broker is away"))
        bench.turn(session, lambda: len(bench.handed()) == 2)
        assert time.monotonic() - began > 0.5, "not at once, or the replica would do nothing else"
        bench.give([bench.handed()[1]])
        bench.turn(session, lambda: bench.committed == 10)
    assert bench.published == [("out.pass", offset) for offset in range(10)]


def test_what_the_gate_must_not_go_past_stops_it_unless_it_is_no_longer_its_own(bundle: Bundle) -> None:
    bench = Bench(bundle)
    problem = Undecodable("in", 0, 0, "a bad checksum")
    with bench.open() as session:
        bench.turn(session, bench.handed)
        (claim,) = bench.handed()
        bench.members[0].assign({A: 0})
        bench.turn(session, lambda: len(bench.handed()) == 2)
        bench.execution.give(Halted(claim, problem))
        bench.turn_for(session, 0.1)
        bench.execution.give(Halted(bench.handed()[1], problem))
        with pytest.raises(Undecodable):
            bench.turn_until_it_raises(session)


# --- executions that end


def test_claims_of_an_execution_that_was_killed_are_handed_again_as_they_were(bundle: Bundle) -> None:
    bench = Bench(bundle)
    with bench.open() as session:
        bench.turn(session, bench.handed)
        claims = bench.handed()
        bench.execution.ended = Outcome.KILLED
        bench.turn(session, lambda: len(bench.executions) == 2 and bench.execution.handed)
        assert bench.execution.handed == claims
        bench.give(claims)
        bench.turn(session, lambda: bench.committed == 10)


def test_claims_of_an_execution_that_failed_are_suspects_and_tried_alone(bundle: Bundle) -> None:
    claims = {"min_offsets": 5, "max_offsets": 5}
    bench = Bench(bundle, claims=claims)
    with bench.open() as session:
        bench.turn(session, lambda: len(bench.handed()) == 2)
        bench.execution.ended = Outcome.FAILED
        bench.turn(session, lambda: len(bench.executions) == 2 and bench.execution.handed)
        bench.turn_for(session, 0.1)
        assert [(claim.start, claim.attempt) for claim in bench.execution.handed] == [(0, 2)]
        bench.give(bench.execution.handed)
        bench.turn(session, lambda: len(bench.execution.handed) == 2)
        bench.give(bench.execution.handed[1:])
        bench.turn(session, lambda: bench.committed == 10)


def test_one_poisonous_row_is_found_and_condemned_and_no_other(bundle: Bundle) -> None:
    bench = Bench(bundle, end=8)
    condemned: list[Claim] = []
    with bench.open() as session:
        for _ in range(100):
            bench.turn(session, lambda: bench.committed == 8 or bench.execution.handed)
            if bench.committed == 8:
                break
            for claim in bench.execution.handed:
                condemned += [claim] if claim.condemned else []
                if claim.start <= 5 < claim.end and not claim.condemned:
                    bench.execution.ended = Outcome.FAILED
                else:
                    bench.give([claim])
            bench.execution.handed.clear()
    assert [(claim.start, claim.end) for claim in condemned] == [(5, 6)]
    assert bench.published == [("out.pass", offset) for offset in range(8)]


def test_a_hung_execution_is_replaced_and_what_it_held_is_tried_alone(bundle: Bundle) -> None:
    bench = Bench(bundle, execution={"hang_s": 0.1})
    with bench.open() as session:
        bench.turn(session, lambda: len(bench.executions) == 2 and bench.execution.handed)
        assert bench.executions[0].killed
        assert [claim.attempt for claim in bench.execution.handed] == [2]


def test_the_pool_is_let_go_when_idle_and_brought_back_when_candidates_come(bundle: Bundle) -> None:
    bench = Bench(bundle, end=0, gate={"idle_after_s": 0.1})
    with bench.open() as session:
        bench.turn(session, lambda: bench.execution.ending_since is not None)
        bench.execution.ended = Outcome.FINISHED
        bench.turn_for(session, 0.2)
        assert len(bench.executions) == 1
        bench.members[0].ends[A] = 5
        bench.turn(session, lambda: len(bench.executions) == 2 and bench.execution.handed)
        bench.give(bench.execution.handed)
        bench.turn(session, lambda: bench.committed == 5)


def test_executions_score_with_the_bundle_that_the_gate_opened(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was replaced while the gate ran gave its next replicas another model."""
    given: list[Settings] = []

    def start(number: int, settings: Settings) -> FakeExecution:
        given.append(settings)
        return FakeExecution(number)

    monkeypatch.setattr("pipeline.keeper.Execution", start)
    keeper = Keeper(Settings(bundle=str(bundle.path)), {}, bundle)
    keeper._supervisor.tend(wanted=True, n_out=0)
    (settings,) = given
    assert settings.bundle == f"{bundle.path}#{bundle.digest}"
    assert Settings.model_validate_json(settings.model_dump_json(by_alias=True)) == settings


def test_failed_starts_say_nothing_about_the_claims_that_were_handed_out_meanwhile(bundle: Bundle) -> None:
    """At a trickle two failed starts in a row condemned the one row that waited for the third."""
    bench = Bench(bundle, end=1)
    bench.stillborn = Outcome.NEVER_WARM
    with bench.open() as session:
        bench.turn(session, lambda: len(bench.executions) == 3)
        bench.executions[-1].ended = None
        bench.execution.give(Warm())
        bench.turn(session, lambda: bench.execution.handed)
        assert len(bench.handed()) > 1
        assert {(claim.attempt, claim.condemned) for claim in bench.handed()} == {(1, False)}
        bench.give(bench.execution.handed)
        bench.turn(session, lambda: bench.committed == 1)


def test_executions_that_never_start_stop_the_gate(bundle: Bundle) -> None:
    bench = Bench(bundle)
    bench.stillborn = Outcome.NEVER_WARM
    with pytest.raises(ExecutionFailed):
        bench.keeper.run()
    assert len(bench.executions) == 3


def test_while_no_cluster_answers_the_gate_says_so_and_keeps_its_place(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.supervisor.PAUSE_S", 0.05)
    bench = Bench(bundle)
    bench.stillborn = Outcome.NO_CLUSTER
    with bench.open() as session:
        bench.turn(session, lambda: len(bench.executions) > MAX_FAILED_STARTS)
        assert bench.keeper._view.not_ready() == (
            "the pool is not warm; no Ray cluster answered at the latest try"
        )
        bench.stillborn = None
        bench.turn(session, lambda: bench.execution.ended is None and bench.execution.handed)
        assert {(claim.attempt, claim.condemned) for claim in bench.handed()} == {(1, False)}
        bench.give(bench.execution.handed)
        bench.turn(session, lambda: bench.committed == 10)


# --- the end


def stop_soon(bench: Bench, when: Callable[[], object]) -> threading.Thread:
    def wait() -> None:
        while not when():
            time.sleep(0.005)
        bench.keeper.stop()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_stopping_drains_what_is_in_flight_and_takes_no_more(bundle: Bundle) -> None:
    bench = Bench(bundle, end=1_000_000, publish={"linger_s": 0, "max_messages": 100})
    with bench.open() as session:
        bench.turn(session, bench.handed)
        bench.keeper.stop()
        claims = bench.handed()
        assert not bench.keeper._done()
        bench.give(claims)
        bench.turn(session, bench.keeper._done)
        assert bench.handed() == claims
        assert bench.committed == claims[-1].end, "also what did not fit the first transaction"


def test_stopping_waits_no_longer_than_its_grace(bundle: Bundle) -> None:
    bench = Bench(bundle, gate={"shutdown_grace_s": 0.2})
    stopper = stop_soon(bench, bench.handed)
    began = time.monotonic()
    bench.keeper.run()
    stopper.join()
    assert time.monotonic() - began < 20
    assert bench.committed == 0
    assert bench.members[0].left is True
    assert bench.execution.closed


def test_stopping_in_the_middle_of_trouble_ends_without_an_error(bundle: Bundle) -> None:
    """SIGTERM while no broker answered ended the gate with an error code, although nothing was left undone."""
    bench = Bench(bundle)
    bench.failures = [BrokerUnreachable("b:1", 10.0)] * 1000
    bench.keeper.stop()
    bench.keeper.run()


def test_a_broken_rule_is_never_taken_for_trouble(bundle: Bundle) -> None:
    bench = Bench(bundle)
    bench.answers = True
    bench.producer_fails = [{"confirm": InvariantBroken("a rule")}]
    with pytest.raises(InvariantBroken):
        bench.keeper.run()
    assert len(bench.producers) == 1


def test_a_gate_of_an_earlier_run_than_the_offsets_is_refused(bundle: Bundle) -> None:
    bench = Bench(bundle)
    bench.note_found = "sluice/1 run=2"
    with (
        bench.open() as session,
        pytest.raises(SettingsError, match=r"gate\.run: is 1, and in\[0\]@0 is of run 2"),
    ):
        bench.turn_until_it_raises(session)


def test_every_commit_says_of_which_run_it_is(bundle: Bundle) -> None:
    bench = Bench(bundle, gate={"run": 3}, until_drained=True)
    bench.note_found = "sluice/1 run=2"
    bench.answers = True
    bench.keeper.run()
    assert bench.committed == 10
    assert bench.note == "sluice/1 run=3"


def test_a_session_that_ends_in_trouble_says_where_the_next_goes_on(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(bundle, until_drained=True)
    bench.answers = True
    bench.producer_fails = [{"commit": AWAY}]
    bench.keeper.run()
    assert bench.committed == 10
    assert "the session is over at in[0]@0, another one is built: publishing" in caplog.text


def test_a_session_that_could_not_be_built_says_so_too(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """While brokers were away, each try but the first said that the session was over at nothing."""
    bench = Bench(bundle, until_drained=True)
    bench.answers = True
    bench.producer_fails = [{"commit": AWAY}]

    def away() -> Session:
        raise AWAY

    tries = iter([bench._open, away, away, bench._open])

    def open_session() -> Session:
        return next(tries)()

    bench.keeper._open_session = open_session
    bench.keeper.run()
    assert caplog.text.count("the session is over at in[0]@0, another one is built") == 3


def test_a_claim_that_later_ones_overtake_is_told_to_the_supervisor(bundle: Bundle) -> None:
    """One replica of several hung, and nothing was heard of its claim for as long as the others went on."""
    bench = Bench(bundle, end=1000, execution={"hang_s": 0.2})
    with bench.open() as session:
        bench.turn(session, lambda: len(bench.handed()) > 1)
        hung = bench.handed()[0]

        def others_go_on() -> bool:
            bench.give(bench.handed()[1:])
            return len(bench.executions) > 1

        bench.turn(session, others_go_on)
        assert bench.executions[0].killed
        bench.turn(session, lambda: bench.execution.handed)
        [alone] = bench.execution.handed
        assert (alone.start, alone.attempt) == (hung.start, 2)


def test_what_an_execution_held_is_named_when_it_is_handed_out_again(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(bundle)
    with bench.open() as session:
        bench.turn(session, bench.handed)
        bench.executions[0].ended = Outcome.FAILED
        bench.turn(session, lambda: len(bench.executions) == 2)
    assert "handed out again, one at a time, to the next execution: in[0]@[0,10)" in caplog.text
