"""This gate's membership in the consumer group: which partitions are its own, and from where they go on.

What it promises: every change of what the gate owns is told once, as an `Assignment` with a number of its
own; the group metadata in it is the snapshot of the generation that brought it, so that a commit under it
is refused once the group has moved on; a partition without a committed offset is named.

It is a real member (lag tools, rebalances and autoscalers see it) that reads no payload: all its
partitions are paused. It commits nothing. Used by one thread; the library's own thread calls the listener.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import kafka as kafka_python
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka import errors as kafka_errors
from kafka.structs import ConsumerGroupMetadata, MemberState

from pipeline.errors import Fenced
from pipeline.kafka.client import NO_LEADER, open_client, translated
from pipeline.kafka.offsets import CommittedOffset, group_offsets
from pipeline.kafka.roster import Roster
from pipeline.records import TopicPartition

logger = logging.getLogger(__name__)

_WATERMARKS_EVERY_S = 1.0
"""High watermarks are for the lag that people see; the planner needs last stable offsets only."""

ASKING_S = 15.0
"""For how long the questions of one call are repeated, all together."""

_TRY_S = 2.0
"""For how long one of those questions is put; the last one for what is left. The library waits for a broker that
is gone as long as it may, and looks up who leads instead only once its metadata is of age: 17 s without a verdict
when one was killed. So that is looked up before a question is put again; by default another leads after 9 s
(`broker.session.timeout.ms`)."""

_LEARNING_S = 0.1
"""How long to wait before asking again about a partition that was added, and is not known to all clients yet."""

PATIENCE_S = 5.0
"""For how long a poll goes on in the middle of a rebalance."""

_WAIT_S = 0.5
"""How often to ask whether another member has committed where the group begins."""

_JOINING_POLL_MS = 200
"""A poll ends no sooner than this, even when the rebalance does."""

CLOSING_S = 2.0
"""For how long closing may take; what is not done by then, the session time-out does."""


class Ends(NamedTuple):
    """How far a partition reaches."""

    last_stable: int
    """One past the last offset that may be claimed: no transaction below it is open."""
    high_watermark: int
    """One past the last offset; the lag is counted to here."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the gate owns, as of one generation of the group."""

    number: int
    """Counts the changes, from 1."""
    positions: Mapping[TopicPartition, int]
    """Where each partition goes on: the committed offset, or the resolved start. Empty when revoked."""
    fresh: Mapping[TopicPartition, int]
    """Where partitions begin that were never committed; it has to be committed before the first claim. Of a
    group that is new and starts at `latest`: all partitions of the topic, those of others too."""
    group: ConsumerGroupMetadata = field(repr=False)
    """The snapshot to commit under."""
    revoked: bool = False
    """Everything was revoked, and what comes next is not settled yet."""
    notes: Mapping[TopicPartition, str] = field(default_factory=dict)
    """What was committed along with the positions; a partition without a note is not in it."""


class GroupMember(Protocol):
    """What the keeper asks about its part of the group; see `Member` for the promises."""

    @property
    def revoked(self) -> bool:
        """Whether the last assignment is no longer this gate's."""

    def poll(self, timeout_s: float) -> Assignment | None:
        """Take part in the group; a new assignment if there is one."""

    def end_offsets(self) -> dict[TopicPartition, Ends]:
        """How far the owned partitions reach."""

    def close(self, *, leave: bool) -> None:
        """Stop being a member."""


class Member:
    """A member of a consumer group.

    Args:
        kafka: Client settings, see `client.connection`.
        group: The consumer group.
        topic: What it consumes.
        instance: Name of this gate within the group. With one, a restart within the session time-out
            causes no rebalance (static membership). None: an ordinary member.
        start: Where a group begins that has never committed anything of the topic. A partition that is added
            later begins at its earliest offset: what was written before it was seen is not to be lost.
        session_timeout_s: After how long without a heartbeat the group does without this member.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One answers, and refuses us.
        TransientError: The topic is not there, or the broker went away.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        *,
        group: str,
        topic: str,
        instance: str | None = None,
        start: Literal["earliest", "latest"] = "earliest",
        session_timeout_s: float = 10.0,
    ) -> None:
        self._kafka = dict(kafka)
        self._topic = topic
        self._start = start
        self._session_timeout_s = session_timeout_s
        self._roster = Roster(kafka, group=group, topic=topic, instance=instance) if instance else None
        self._membership: dict[str, Any] = {
            "group_id": group,
            "group_instance_id": self._roster.instance_id if self._roster else None,
            "session_timeout_ms": round(session_timeout_s * 1000),
            # A heartbeat's answer is how a rebalance becomes known.
            "heartbeat_interval_ms": round(min(1.0, session_timeout_s / 5) * 1000),
            # How long the others wait for this one in a rebalance; it must poll at least as often.
            "max_poll_interval_ms": round(session_timeout_s * 3000),
        }
        self._closed = False
        self._number = 0
        self._current: Assignment | None = None
        self._settled: _Grant | None = None
        self._settle_at = 0.0
        self._watermarks: dict[TopicPartition, int] = {}
        self._watermarks_at = -_WATERMARKS_EVERY_S
        with ExitStack() as undo:
            if self._roster is not None:
                undo.callback(self._roster.close)
            self._watcher = self._open("read_uncommitted", group_id=None)
            undo.callback(_close, self._watcher)
            self._consumer, self._listener = self._join()
            undo.pop_all()

    @property
    def revoked(self) -> bool:
        """Whether the last assignment is no longer this gate's; what was read under it must not be committed.

        Fresh at every call, without asking the broker: it sees what the heartbeats have brought.
        """
        granted = self._listener.granted
        return (
            granted is None
            or granted is not self._settled
            or _identity(granted.group) != _identity(self._consumer.group_metadata())
        )

    def poll(self, timeout_s: float) -> Assignment | None:
        """Take part in the group: join, rebalance, prove to be alive. To be called all the time.

        Blocks for `timeout_s`; in the middle of a rebalance, when there is nothing to be committed anyway,
        for up to 5 s more.

        Args:
            timeout_s: How long to wait for a change, in seconds.

        Returns:
            The new assignment after a change; one without positions when everything was revoked and
            the next is not settled yet; None if nothing changed.

        Raises:
            Fenced: Another gate goes by this one's instance name.
            TransientError: The broker is not there; call again.
            BrokerRefused: The broker does not let us.
        """
        with translated("taking part in the group"):
            try:
                self._consumer.poll(timeout_ms=round(timeout_s * 1000), max_records=1)
                self._see_rebalance_through()
            except kafka_errors.FencedInstanceIdError as error:
                raise Fenced(str(self._membership["group_instance_id"])) from error
        if self._roster is not None:
            self._heed(self._roster)
        granted = self._listener.granted
        if granted is not None and granted is not self._settled:
            return self._settle(granted)
        if self.revoked and self._current is not None and self._current.positions:
            self._settled = None
            return self._announce({}, {}, self._consumer.group_metadata(), revoked=True)
        return None

    def end_offsets(self) -> dict[TopicPartition, Ends]:
        """How far the owned partitions reach. One round trip, two once a second.

        Returns:
            One entry per owned partition that has a leader: without one nothing can be read of it, and the
            others are not to wait for that.

        Raises:
            TransientError: The broker is not there; call again.
        """
        owned = list(self._current.positions) if self._current is not None else []
        if not owned:
            return {}
        partitions = [kafka_python.TopicPartition(*source) for source in owned]
        until = time.monotonic() + ASKING_S
        with translated(f"asking for the ends of {self._topic}"):
            found = _asked(self._consumer.end_offsets, partitions, until, self._consumer, led=True)
            stable = {TopicPartition(*p): offset for p, offset in found.items()}
            now = time.monotonic()
            due = now - self._watermarks_at >= _WATERMARKS_EVERY_S
            if due or not self._watermarks.keys() >= stable.keys():
                high = _asked(self._watcher.end_offsets, list(found), until, self._watcher, led=True)
                self._watermarks = {TopicPartition(*p): offset for p, offset in high.items()}
                self._watermarks_at = now
            if due and len(self._watermarks) < len(partitions):  # of either client: they learn of it apart
                for client in (self._consumer, self._watcher):
                    client._cluster.request_update()  # noqa: SLF001 - by the next second one may lead
        high_of = self._watermarks
        return {source: Ends(end, max(end, high_of.get(source, 0))) for source, end in stable.items()}

    def close(self, *, leave: bool) -> None:
        """Stop being a member, once and for all. Blocks for a few round trips; a broker that is gone is no error.

        Args:
            leave: Give the partitions back at once. Without it a member with an instance name keeps
                them until its session ends, for its restart.
        """
        if self._closed:
            return
        self._closed = True
        _close(self._consumer)
        _close(self._watcher)
        if self._roster is not None:
            if leave:
                # The library never sends LeaveGroup for a static member.
                self._roster.leave()
            self._roster.close()

    def _open(self, isolation_level: str, **own: Any) -> KafkaConsumer:
        return open_client(
            KafkaConsumer,
            self._kafka,
            isolation_level=isolation_level,
            enable_auto_commit=False,
            auto_offset_reset=self._start,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **own,
        )

    def _join(self) -> tuple[KafkaConsumer, _Listener]:
        consumer = self._open("read_committed", **self._membership)
        with ExitStack() as undo:
            undo.callback(_close, consumer)
            listener = _Listener(consumer)
            consumer.subscribe([self._topic], listener=listener)
            first = kafka_python.TopicPartition(self._topic, 0)
            with translated(f"looking up {self._topic}"):
                # Learns the partitions first: a leader that joins without them assigns nothing, and again.
                _asked(consumer.beginning_offsets, [first], time.monotonic() + ASKING_S, consumer, led=True)
            undo.pop_all()
        return consumer, listener

    def _see_rebalance_through(self) -> None:
        """Poll without a pause until the group is stable, or patience ends.

        The library completes a join between two polls, and then throws the result away and joins again:
        members that poll briefly and do something else in between can keep a group from ever settling.
        """
        patient_until = time.monotonic() + PATIENCE_S
        while self._consumer.group_metadata().state is not MemberState.STABLE:
            if time.monotonic() > patient_until:
                return
            self._consumer.poll(timeout_ms=_JOINING_POLL_MS, max_records=1)

    def _heed(self, roster: Roster) -> None:
        """Ask the group, once per session time-out, what static membership does not tell by itself."""
        group = self._consumer.group_metadata()
        if group.state is not MemberState.STABLE or not roster.due(self._session_timeout_s):
            return
        if roster.overlooks_partitions(member_id=group.member_id):
            logger.info("partitions of %s belong to nobody: leaving the group to join anew", self._topic)
            _close(self._consumer)
            roster.leave()
            self._consumer, self._listener = self._join()

    def _settle(self, granted: _Grant) -> Assignment | None:
        """Resolve where the granted partitions go on; None if the group has moved on meanwhile, or has to wait."""
        now = time.monotonic()
        if now < self._settle_at:
            return None
        until = now + ASKING_S
        owned = sorted(TopicPartition(*partition) for partition in granted.partitions)
        with translated("asking for the committed offsets"):
            # Waits for transactions that are still committing offsets (isolation read_committed).
            committed = group_offsets(self._consumer, self._asked_for(owned), deadline_s=ASKING_S)
            fresh = self._starts(owned, committed, until)
        if self._listener.granted is not granted:
            return None
        if fresh is None:
            logger.info("the owner of %s[0] is to commit where the group begins", self._topic)
            self._settle_at = time.monotonic() + _WAIT_S
            return None
        self._settled = granted
        kept = {source: committed[source] for source in owned if source in committed}
        offsets = {**fresh, **{source: at.offset for source, at in kept.items()}}
        return self._announce(
            {source: offsets[source] for source in owned},
            fresh,
            granted.group,
            notes={source: at.note for source, at in kept.items() if at.note},
        )

    def _asked_for(self, owned: Sequence[TopicPartition]) -> Sequence[TopicPartition]:
        """The partitions whose committed offsets tell where those that are owned begin."""
        if self._start == "earliest" or not owned:
            return owned
        numbers = self._consumer.partitions_for_topic(self._topic)
        return sorted({*owned, *(TopicPartition(self._topic, number) for number in numbers)})

    def _starts(
        self,
        owned: Sequence[TopicPartition],
        committed: Mapping[TopicPartition, CommittedOffset],
        until: float,
    ) -> dict[TopicPartition, int] | None:
        """Where partitions begin that were never committed; None while that is another member's to say.

        A group that starts at `latest` has to start everywhere at once: if each member resolved its own part, the
        first commit would make the parts of the others look like partitions that were added. So the owner of
        partition 0 resolves them all.
        """
        missing = [one for one in owned if one not in committed]
        if self._start == "earliest" or committed or not missing:
            return self._offsets(self._consumer.beginning_offsets, missing, until)
        if TopicPartition(self._topic, 0) not in owned:
            return None
        return self._offsets(self._consumer.end_offsets, self._asked_for(owned), until)

    def _offsets(
        self, ask: Callable[..., Mapping[Any, int]], sources: Sequence[TopicPartition], until: float
    ) -> dict[TopicPartition, int]:
        if not sources:
            return {}
        partitions = [kafka_python.TopicPartition(*source) for source in sources]
        found = _asked(ask, partitions, until, self._consumer)
        return {TopicPartition(*partition): int(offset) for partition, offset in found.items()}

    def _announce(
        self,
        positions: Mapping[TopicPartition, int],
        fresh: Mapping[TopicPartition, int],
        group: ConsumerGroupMetadata,
        *,
        revoked: bool = False,
        notes: Mapping[TopicPartition, str] | None = None,
    ) -> Assignment:
        self._number += 1
        self._current = Assignment(self._number, positions, fresh, group, revoked, notes or {})
        owned = ", ".join(map(str, positions)) or "nothing"
        logger.info("assignment %d, generation %d: %s", self._number, group.generation_id, owned)
        return self._current


class _Grant(NamedTuple):
    """What one generation of the group gave to this gate."""

    partitions: frozenset[kafka_python.TopicPartition]
    group: ConsumerGroupMetadata


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python carries no types
    """What the library calls, on its own thread, in the middle of a rebalance. It must not block.

    `granted` is one reference, replaced as a whole: reading it needs no lock.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self.granted: _Grant | None = None

    def on_partitions_revoked(self, revoked: set[kafka_python.TopicPartition]) -> None:
        """Nothing is this gate's from here on."""
        self.granted = None

    def on_partitions_lost(self, lost: set[kafka_python.TopicPartition]) -> None:
        """The same, without having been asked."""
        self.granted = None

    def on_partitions_assigned(self, assigned: set[kafka_python.TopicPartition]) -> None:
        """Pause, and take the snapshot while generation and assignment are known to belong together."""
        self._consumer.pause(*assigned)
        self.granted = _Grant(frozenset(assigned), self._consumer.group_metadata())


def _asked(
    ask: Callable[..., Mapping[Any, int]],
    partitions: Sequence[kafka_python.TopicPartition],
    until: float,
    consumer: KafkaConsumer,
    *,
    led: bool = False,
) -> Mapping[Any, int]:
    """The answer about these partitions, or those of them that have a leader, asked again and again."""
    cluster = consumer._cluster  # noqa: SLF001 - what is public waits for an answer, without end
    while True:
        left_ms = _left_ms(until)
        if led:
            partitions = [one for one in partitions if cluster.leader_for_partition(one) != NO_LEADER]
        try:
            return ask(partitions, timeout_ms=_TRY_S * 1000 if left_ms > 2 * _TRY_S * 1000 else left_ms)
        except kafka_errors.KafkaTimeoutError:
            if time.monotonic() > until:
                raise
            cluster.request_update()
        except KeyError as error:
            # The library leaves out a partition that this client has not heard of yet, and stumbles over it.
            if time.monotonic() > until:
                raise kafka_errors.KafkaTimeoutError(f"{error.args[0]} is not known yet") from error
            time.sleep(_LEARNING_S)


def _left_ms(until: float) -> float:
    """What is left of a deadline, for the library; 0 once it has passed."""
    return max(0.0, until - time.monotonic()) * 1000


def _close(consumer: KafkaConsumer) -> None:
    consumer.close(autocommit=False, timeout_ms=round(CLOSING_S * 1000))


def _identity(group: ConsumerGroupMetadata) -> tuple[int, str]:
    """What the broker fences by."""
    return group.generation_id, group.member_id
