"""A transactional producer that is either sure or spent.

What it promises: `commit` returns only if every message of the transaction and its offsets are committed;
no call blocks beyond its deadline; after anything goes wrong between `begin` and `commit` no call works
again, so that nothing of a failed transaction can leak into the next. What became of a transaction whose
`commit` raised is unknown: build a producer anew with the same id, which ends it, then ask for the
committed offsets.

It does not know what it sends, and never retries: whoever uses it rebuilds the session (see `publisher`).
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import kafka
from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as kafka_errors
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from pipeline.errors import DataUnusable, Fenced, InvariantBroken, SluiceError, TransientError
from pipeline.kafka.batches import Deliveries, enqueue
from pipeline.kafka.client import MAX_REQUEST_BYTES, TOO_LARGE, describe, open_client, translated
from pipeline.records import Batch, TopicPartition

logger = logging.getLogger(__name__)

COMMITTING_S = 20.0
"""See `Delivery.deadline_s`."""

_OLD_EPOCH = (kafka_errors.InvalidProducerEpochError, kafka_errors.ProducerFencedError)
_ABORTED = frozenset({"PrepareAbort", "CompleteAbort", "PrepareEpochFence"})
"""States of a transactional id whose transaction the coordinator ends, or has ended."""


class _State(enum.Enum):
    NEW = "new"
    IDLE = "idle"
    OPEN = "open"
    CONFIRMED = "confirmed"
    SPENT = "spent"


class Transactor(Protocol):
    """What the publisher commits through; see `TransactionalProducer` for the promises."""

    @property
    def reusable(self) -> bool:
        """Whether `begin` may be called."""

    def init(self) -> None:
        """End what a predecessor left open, and fence it."""

    def begin(self) -> None:
        """Open a transaction."""

    def send(self, target: TopicPartition, batch: Batch) -> None:
        """Add messages to it."""

    def confirm(self) -> None:
        """Wait until every message has been accepted."""

    def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], group: ConsumerGroupMetadata, *, note: str = ""
    ) -> None:
        """Add the group's offsets to it, with a note."""

    def commit(self) -> None:
        """Make it all visible."""

    def close(self) -> None:
        """Let go; an open transaction is left for the successor to abort."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How batches are sent, and for how long that is tried."""

    transaction_timeout_s: float = 30.0
    """When the broker aborts a transaction that was not ended, in seconds; bounds for how long a dead gate
    holds up the readers of its output."""
    delivery_timeout_s: float = 45.0
    """When the library gives up on a batch, in seconds. More than `transaction_timeout_s`: giving up on a
    batch does not fail the commit, but the broker's time-out does."""
    deadline_s: float = COMMITTING_S
    """For how long `init` may block, and `confirm`, `commit_offsets` and `commit` together, in seconds. No more
    than `transaction_timeout_s`: what is committed after the broker's time-out looks like another gate's."""
    compression: str | None = None
    """`lz4`, `zstd`, `gzip` or None."""
    max_request_bytes: int = MAX_REQUEST_BYTES
    """Largest batch, and so the largest message; the topics' `max.message.bytes` must allow it."""

    def __post_init__(self) -> None:
        if not self.transaction_timeout_s < self.delivery_timeout_s:
            raise ValueError(
                f"transaction_timeout_s, {self.transaction_timeout_s:g}, must be below "
                f"delivery_timeout_s, {self.delivery_timeout_s:g}"
            )


class TransactionalProducer:
    """One transaction after another under one transactional id, in the order of the verbs below.

    1. `begin`; 2. `send`, any number of times; 3. `confirm`; 4. `commit_offsets`; 5. `commit`.
    Used by one thread. `init` comes first, once.

    Args:
        kafka: Client settings, see `client.connection`.
        transactional_id: Stable per gate instance, so that `init` ends what a predecessor left open.
        delivery: Time-outs and batching.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One answers, and refuses us.
    """

    def __init__(
        self, kafka: Mapping[str, Any], *, transactional_id: str, delivery: Delivery | None = None
    ) -> None:
        delivery = delivery or Delivery()
        self._kafka = kafka
        self._id = transactional_id
        self._deadline_s = delivery.deadline_s
        self._until = 0.0
        """When the end of the transaction has to be through: `time.monotonic()`, seconds."""
        self._in_doubt = threading.Event()
        self._state = _State.NEW
        self._sent = Deliveries()
        self._producer: KafkaProducer = open_client(
            KafkaProducer,
            kafka,
            in_doubt=self._in_doubt,
            transactional_id=transactional_id,
            transaction_timeout_ms=round(delivery.transaction_timeout_s * 1000),
            delivery_timeout_ms=round(delivery.delivery_timeout_s * 1000),
            acks="all",
            compression_type=delivery.compression,
            max_request_size=delivery.max_request_bytes,
            max_block_ms=round(delivery.deadline_s * 1000),
            allow_auto_create_topics=False,
            metrics_enabled=False,
            # The library sleeps for this long whenever the broker is still writing the markers of the
            # transaction before, which it often is: the default of 100 is most of a small transaction.
            retry_backoff_ms=10,
        )

    @property
    def reusable(self) -> bool:
        """Whether another transaction may begin; False once anything is lost, failed or in doubt.

        In doubt: a request of the last transaction ended without an answer and was sent again. The first
        one may still arrive, and would end the next transaction, which has the same epoch.
        """
        return self._state is _State.IDLE and not self._in_doubt.is_set()

    def init(self) -> None:
        """Abort what a predecessor of the same id left open, and fence it. Blocks.

        Raises:
            TransientError: The coordinator did not answer within the deadline.
            Fenced: A successor was quicker.
        """
        self._expect(_State.NEW)
        with self._spent_on_error("starting the transactional producer"):
            self._until = time.monotonic() + self._deadline_s
            self._bounded("init", self._producer.init_transactions)
            # A request of `init` that was sent twice can but fence us; nothing else is under way yet.
            self._in_doubt.clear()
            self._state = _State.IDLE

    def begin(self) -> None:
        """Open a transaction. Local; does not block.

        Raises:
            InvariantBroken: The producer is not `reusable`.
        """
        if not self.reusable:
            raise InvariantBroken(f"a producer that is {self._state.value} or in doubt begins no transaction")
        with self._spent_on_error("beginning a transaction"):
            self._producer.begin_transaction()
            self._sent = Deliveries()
            self._state = _State.OPEN

    def send(self, target: TopicPartition, batch: Batch) -> None:
        """Add messages. Does not wait for the broker, except for a topic's first metadata.

        Args:
            target: Topic and partition.
            batch: At least one message.

        Raises:
            InvariantBroken: No transaction is open, or the batch is larger than `max_request_bytes`.
            TransientError: The transaction has failed.
            Fenced: A successor has taken over the transactional id.
        """
        if self._state is not _State.OPEN:
            self._expect(_State.OPEN)
        with self._spent_on_error(f"sending to {target}"):
            try:
                future = enqueue(self._producer, target, batch, time_ms=time.time_ns() // 1_000_000)
            except kafka_errors.MessageSizeTooLargeError as error:
                raise InvariantBroken(
                    f"what is sent to {target} fits a request: {describe(error)}"
                ) from error
        self._sent.add(target, future)

    def confirm(self) -> None:
        """Wait until the broker has accepted every message of this transaction. Blocks; the deadline begins.

        The library's flush and commit do not tell: a batch that it gave up on is reported nowhere but in its
        future.

        Raises:
            TransientError: A message failed, or the deadline passed.
            Fenced: A successor has taken over the transactional id.
            DataUnusable: A message is larger than its topic takes; trying again does not help.
        """
        self._expect(_State.OPEN)
        with self._spent_on_error(f"sending {len(self._sent)} batches"):
            self._until = time.monotonic() + self._deadline_s
            self._sent.wait(self._deadline_s)
            self._look_at_failures()
            self._state = _State.CONFIRMED

    def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], group: ConsumerGroupMetadata, *, note: str = ""
    ) -> None:
        """Add the group's offsets to the transaction. Blocks.

        Args:
            offsets: The next offset to be read, by partition.
            group: The metadata that the assignment came with (see `member.Assignment`); never the live
                one, which carries a new generation before the new assignment is applied, and fences nothing.
            note: Kept with each offset, in place of what was kept there: `member.Assignment.notes` of whoever
                goes on from it. A broker takes 4096 bytes by default.

        Raises:
            TransientError: The group has moved on, or the deadline passed.
            Fenced: A successor has taken over the transactional id or the group instance id.
        """
        self._expect(_State.CONFIRMED)
        positions = {
            kafka.TopicPartition(*source): OffsetAndMetadata(offset, note, -1)
            for source, offset in offsets.items()
        }
        with self._spent_on_error("committing offsets"):
            self._bounded("offsets", self._producer.send_offsets_to_transaction, positions, group)

    def commit(self) -> None:
        """Make messages and offsets visible together. Blocks.

        Raises:
            TransientError: The outcome is unknown; see the module.
            Fenced: A successor has taken over the transactional id, and has ended this transaction.
        """
        self._expect(_State.CONFIRMED)
        with self._spent_on_error("committing the transaction"):
            self._bounded("commit", self._producer.commit_transaction)
            self._state = _State.IDLE

    def close(self) -> None:
        """Let go of the threads and connections. Blocks for a second at most; never raises for the broker.

        An open transaction is not aborted here: `init` of the successor does that, or its time-out.
        """
        self._state = _State.SPENT
        closer = threading.Thread(
            target=_close, args=(self._producer,), name=f"close-{self._id}", daemon=True
        )
        closer.start()
        closer.join(timeout=1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _look_at_failures(self) -> None:
        """Raise for a batch that failed; for one that can never be sent, before those that failed with it."""
        failures = self._sent.failures()
        for target, error in failures:
            if isinstance(error, TOO_LARGE):
                problem = (
                    f"the topic takes no batch of that size ({describe(error)}); raise its "
                    "max.message.bytes, or lower limits.max_message_bytes and limits.max_reject_bytes"
                )
                raise DataUnusable(f"messages to {target}", problem) from error
        errors = [error for _, error in failures if error is not None]
        if failures:
            raise errors[0] if errors else kafka_errors.KafkaTimeoutError("not answered in time")

    def _expect(self, state: _State) -> None:
        if self._state is not state:
            raise InvariantBroken(f"the producer is {state.value} here; it is {self._state.value}")

    @contextmanager
    def _spent_on_error(self, doing: str) -> Iterator[None]:
        """Whatever goes wrong inside ends this producer; the library's errors become ours."""
        before, self._state = self._state, _State.SPENT
        try:
            with translated(doing):
                yield
        except TransientError as error:
            cause = error.__cause__
            if _is_any(cause, _OLD_EPOCH) and self._ended_by_broker():
                raise TransientError(doing, "the transaction outlasted its time-out", 0.0) from cause
            if _is_any(cause, (*_OLD_EPOCH, kafka_errors.FencedInstanceIdError)):
                raise Fenced(self._id) from cause
            raise
        if self._state is _State.SPENT:
            self._state = before

    def _ended_by_broker(self) -> bool:
        """Whether no successor fenced this producer, but the broker, which ended a transaction that was too old.

        The error is the same, as after a stall of this process or of the network. The coordinator tells: after its
        time-out the transaction is aborted and one epoch on; a successor has begun anew. Blocks for a few round
        trips; who cannot be asked leaves it at a successor.
        """
        try:
            with closing(open_client(KafkaAdminClient, self._kafka)) as admin, translated("asking"):
                found = admin.describe_transactions([self._id])[self._id]
        except SluiceError as error:
            logger.info("who ended the transaction of %s is not known: %s", self._id, error)
            return False
        # Looked at last: the library may have begun anew by itself meanwhile.
        ours = self._producer._transaction_manager.producer_id_and_epoch  # noqa: SLF001 - nothing public tells
        is_next = found.state in _ABORTED and found.producer_epoch == ours.epoch + 1
        return bool(found.producer_id == ours.producer_id and (is_next or found.producer_epoch == ours.epoch))

    def _bounded(self, name: str, call: Callable[..., object], *args: object) -> None:
        """Make a call of the library that could block for ever, for as long as is left at most."""
        running = _Call(f"{name}-{self._id}", call, args)
        running.start()
        running.join(max(0.0, self._until - time.monotonic()))
        if running.is_alive():
            raise kafka_errors.KafkaTimeoutError(f"no answer within {self._deadline_s:g} s")
        if running.error is not None:
            raise running.error


class _Call(threading.Thread):
    """One call in a thread of its own, which dies with the process if the call never returns."""

    def __init__(self, name: str, call: Callable[..., object], args: tuple[object, ...]) -> None:
        super().__init__(name=name, daemon=True)
        self._call = call
        self._args_of_call = args
        self.error: BaseException | None = None

    def run(self) -> None:
        """Call, and keep what was raised."""
        with self:
            self._call(*self._args_of_call)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.error = error
        return True


def _is_any(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> bool:
    """Whether an error is one of these, or was raised for one."""
    facts = error.args if error is not None else ()
    return any(isinstance(fact, kinds) for fact in (error, *facts))


def _close(producer: KafkaProducer) -> None:
    """Close a producer; what it has not sent by now is wanted no more."""
    while True:
        try:
            producer.close(timeout=0.5)
        except kafka_errors.KafkaTimeoutError as error:
            logger.info("closing a producer that still has batches: %s", describe(error))
            producer._sender.force_close()  # noqa: SLF001 - its thread would try for the delivery time-out
        else:
            _let_go(producer)
            return


def _let_go(producer: KafkaProducer) -> None:
    """End the verbs that still wait: the library waits for an answer without end, and nothing answers any more."""
    producer._sender.join()  # noqa: SLF001
    for *_, request in producer._transaction_manager._pending_requests:  # noqa: SLF001
        request.fail(kafka_errors.KafkaError("the producer is closed"))
