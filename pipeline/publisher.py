"""Publishes what is complete: verdicts, rejects, counts and offsets, in one transaction or not at all.

Promises: what `publish` returned for is committed, exactly once; what it raised for is unknown, and then the
session is built anew from the committed offsets. The order of steps is what makes it so; each is numbered:

    1. begin, with the scores in hand, so that a transaction is short;
    2. send every message, to the partition that follows from its source's;
    3. every send has succeeded, each one looked at, because a flush does not tell;
    4. the offsets, under the snapshot of the group that the claims were cut under;
    5. commit.

It knows no candidate, no score and no engine: messages come encoded, and their routes are theirs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.codec import Audit, encode_audit, encode_batches, unpack_outputs
from pipeline.errors import InvariantBroken, TransientError
from pipeline.kafka.member import Assignment
from pipeline.kafka.transaction import Transactor
from pipeline.records import Batch, Completed, Output, Route, TopicPartition


@dataclass(frozen=True, slots=True)
class Destination:
    """An output topic."""

    topic: str
    n_partitions: int

    def of(self, source: TopicPartition) -> TopicPartition:
        """The partition that everything of a source partition goes to, in its order."""
        return TopicPartition(self.topic, source.partition % self.n_partitions)


class Publisher:
    """Commits batches through one producer, for one session.

    Args:
        producer: Initialised; it is never used again after an error.
        destinations: Where each route goes. A route that is absent is switched off.
        run: The run number, for the audit.
    """

    def __init__(self, producer: Transactor, destinations: Mapping[Route, Destination], *, run: int) -> None:
        self._producer = producer
        self._destinations = destinations
        self._run = run

    def publish(
        self, batch: Sequence[Completed], assignment: Assignment, *, note: str = ""
    ) -> dict[TopicPartition, int]:
        """Commit a batch. Blocks for as long as the broker takes, within the producer's deadlines.

        Args:
            batch: What the ledger released, in its order.
            assignment: The one that the claims were cut under.
            note: Kept with the offsets, for whoever goes on from them.

        Returns:
            The next offset of each partition in the batch, now committed.

        Raises:
            TransientError: The outcome is unknown: build the session anew.
            Fenced: Another gate has taken over.
            DataUnusable: A message is larger than its topic takes.
            InvariantBroken: The batch is not in offset order, or has a message for a route that is off.
        """
        offsets = _next_offsets(batch, assignment)
        messages = [of_one for one in batch for of_one in self._messages(one)] + self._audits(batch)
        self._begin()  # 1
        for target, encoded in messages:  # 2
            self._producer.send(target, encoded)
        self._producer.confirm()  # 3
        self._producer.commit_offsets(offsets, assignment.group, note=note)  # 4
        self._producer.commit()  # 5
        return offsets

    def commit_positions(
        self, positions: Mapping[TopicPartition, int], assignment: Assignment, *, note: str = ""
    ) -> None:
        """Commit positions by themselves: where a group begins, or as they are, for the note. Blocks.

        Args:
            positions: Nothing before them is left to be published.
            assignment: The one that they are of.
            note: Kept with them, for whoever goes on from them.

        Raises:
            TransientError: The outcome is unknown: build the session anew.
            Fenced: Another gate has taken over.
        """
        self._begin()
        self._producer.confirm()
        self._producer.commit_offsets(positions, assignment.group, note=note)
        self._producer.commit()

    def _begin(self) -> None:
        """Begin a transaction, unless the end of the last one is in doubt: that could end this one instead."""
        if not self._producer.reusable:
            raise TransientError("beginning a transaction", "the end of the last one is in doubt", 0.0)
        self._producer.begin()

    def _messages(self, completed: Completed) -> list[tuple[TopicPartition, Batch]]:
        batches = unpack_outputs(completed.outputs)
        source = completed.claim.source
        targets = {route: place.of(source) for route, place in self._destinations.items()}
        try:
            return [(targets[batch.route], batch) for batch in batches]
        except KeyError as error:
            raise InvariantBroken(
                f"{completed.claim} has a message for {error}, which is switched off"
            ) from error

    def _audits(self, batch: Sequence[Completed]) -> list[tuple[TopicPartition, Batch]]:
        """The counts of every claim, where they are wanted; those of one target in one batch."""
        place = self._destinations.get(Route.AUDIT)
        if place is None:
            return []
        of_targets: dict[TopicPartition, list[Output]] = {}
        for completed in batch:
            audits = of_targets.setdefault(place.of(completed.claim.source), [])
            audits.append(encode_audit(self._audit(completed)))
        return [(target, one) for target, audits in of_targets.items() for one in encode_batches(audits)]

    def _audit(self, completed: Completed) -> Audit:
        claim = completed.claim
        now_ms = time.time_ns() // 1_000_000
        return Audit(claim.source, claim.start, claim.end, self._run, claim.mode, completed.counts, now_ms)


def _next_offsets(batch: Sequence[Completed], assignment: Assignment) -> dict[TopicPartition, int]:
    """Where each partition goes on after the batch."""
    offsets: dict[TopicPartition, int] = {}
    for completed in batch:
        claim = completed.claim
        if claim.source not in assignment.positions:
            raise InvariantBroken(f"{claim} is published, of a partition that is not assigned")
        if claim.start != offsets.get(claim.source, claim.start):
            raise InvariantBroken(f"{claim} is published after {offsets[claim.source]}")
        offsets[claim.source] = claim.end
    return offsets
