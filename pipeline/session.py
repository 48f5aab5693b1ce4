"""A session: one member, one producer, the assignments that came while they lived. Built whole, dropped whole.

The start order is what makes a takeover safe, and is kept here: the producer is initialised first, which ends
what a predecessor of the same instance left open; then the member joins; then committed offsets are read, which
waits for transactions still under way; then claims are cut. Any error ends the session, never the runner.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from pipeline.kafka.admin import DEADLINE_S
from pipeline.kafka.defaults import DEFAULTS
from pipeline.kafka.fault_points import armed
from pipeline.kafka.member import ASKING_S, CLOSING_S, PATIENCE_S, GroupMember, Member
from pipeline.kafka.transaction import COMMITTING_S, Delivery, TransactionalProducer, Transactor
from pipeline.publisher import Destination, Publisher
from pipeline.records import Route
from pipeline.settings import Settings


def longest_turn_s(settings: Settings) -> float:
    """How long the keeper may be between two turns while the broker is alive and answers at the last moment.

    Added up from the deadlines of what a turn asks of the broker, so that liveness follows from them: a gate that
    waits for a slow broker must not be taken for dead.

    Args:
        settings: Of the gate.

    Returns:
        Seconds.
    """
    kafka = {**DEFAULTS, **settings.kafka}
    connect_s: float = kafka["bootstrap_timeout_ms"] / 1000
    request_s: float = kafka["request_timeout_ms"] / 1000
    commit_s = _committing_s(settings)
    roster_s = 2 * request_s  # two questions about the group, or leaving it
    opening_s = 4 * connect_s + commit_s + ASKING_S  # producer, watcher, roster and consumer
    looking_s = 2 * DEADLINE_S  # where partitions were added: connecting, and a question at the last moment
    joining_s = PATIENCE_S + roster_s + ASKING_S + commit_s + looking_s
    publishing_s = 3 * commit_s  # after the brake's note; the first message waits for its topic's metadata
    closing_s = 2 * CLOSING_S + roster_s
    return max(opening_s, joining_s + ASKING_S + publishing_s) + closing_s


def _committing_s(settings: Settings) -> float:
    return min(COMMITTING_S, settings.publish.transaction_timeout_s)


class Session:
    """A context manager: leaving it closes producer and member, and leaves the group if told to.

    Args:
        producer: Not yet initialised; opened first, so that its `init` comes before the join.
        member: Joins by itself once it is polled.
        publisher: Commits through the producer.
    """

    def __init__(self, producer: Transactor, member: GroupMember, publisher: Publisher) -> None:
        self._producer = producer
        self.member = member
        self.publisher = publisher
        self.leaving = False
        """Give the partitions back at once when the session closes."""

    @classmethod
    def open(cls, settings: Settings, destinations: dict[Route, Destination]) -> Session:
        """Build one in the start order. Blocks for a few round trips.

        Args:
            settings: Of the gate.
            destinations: Where each route goes, see `startup`.

        Returns:
            The session, to be entered.

        Raises:
            TransientError: The broker did not answer in time.
            BrokerUnreachable: No broker answers.
            BrokerRefused: One does, and does not let us.
            Fenced: Another gate took over the transactional id.
        """
        gate, publish = settings.gate, settings.publish
        delivery = Delivery(
            transaction_timeout_s=publish.transaction_timeout_s,
            delivery_timeout_s=publish.delivery_timeout_s,
            deadline_s=_committing_s(settings),
            compression=None if publish.compression == "none" else publish.compression,
            max_request_bytes=settings.limits.max_output_bytes,
        )
        producer = TransactionalProducer(
            settings.kafka, transactional_id=settings.transactional_id, delivery=delivery
        )
        try:
            producer.init()
            member = Member(
                settings.kafka,
                group=gate.group,
                topic=settings.topics.input,
                instance=gate.instance,
                start=gate.start,
                session_timeout_s=gate.session_timeout_s,
            )
        except BaseException:
            producer.close()
            raise
        return cls(producer, member, Publisher(armed(producer), destinations, run=gate.run))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.close()
        self.member.close(leave=self.leaving)
