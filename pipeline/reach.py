"""How far the partitions of an assignment reach, by the latest look, held against what is committed.

Promises: a partition that nobody leads is told of once; one that ends before what is committed is never passed
over in silence. What is known outlives the session that saw it. Knows neither the broker nor what is planned.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from pipeline.errors import BeyondEnd, TransientError
from pipeline.kafka.member import Ends
from pipeline.records import TopicPartition

logger = logging.getLogger(__name__)


class Reach:
    """The ends of the partitions that are owned."""

    def __init__(self) -> None:
        self._ends: Mapping[TopicPartition, Ends] = {}
        self._without_leader: Collection[TopicPartition] = ()
        self._short: set[TopicPartition] = set()  # found to end before what is committed

    @property
    def ends(self) -> Mapping[TopicPartition, Ends]:
        """By the latest look; without the partitions that have no leader."""
        return self._ends

    @property
    def readable(self) -> dict[TopicPartition, int]:
        """One past the last offset that may be claimed, of each."""
        return {source: ends.last_stable for source, ends in self._ends.items()}

    @property
    def without_leader(self) -> Collection[TopicPartition]:
        """Those of which nothing can be read now."""
        return self._without_leader

    def look(self, ends: Mapping[TopicPartition, Ends], committed: Mapping[TopicPartition, int]) -> None:
        """Take in how far the partitions reach now.

        A partition that ends before what is committed was made anew, restored or truncated. The group forgets the
        offsets of a topic that was deleted, so that its next session asks where to go on; where that is beyond the
        end, too, it is said.

        Args:
            ends: As the broker has them; what is missing has no leader.
            committed: The next offset of each partition that is owned.

        Raises:
            TransientError: A partition ends before what is committed: build the session anew.
            BeyondEnd: It did so before, and nothing was committed since.
        """
        self._ends = ends
        self._see_leaders(committed)
        for source, end in ends.items():
            # Not what can be read: another tool may have set the offset beyond a transaction that is still open.
            at, end_at = committed[source], end.high_watermark
            if end_at >= at:
                self._short.discard(source)
            elif source in self._short:
                raise BeyondEnd(*source, at, end_at)
            else:
                self._short.add(source)
                raise TransientError(f"looking at {source}", f"it ends at {end_at}, and {at} is committed")

    def behind(self, positions: Mapping[TopicPartition, int]) -> int:
        """Offsets that can be read, from these positions on."""
        readable = self.readable
        return sum(max(0, readable[source] - at) for source, at in positions.items() if source in readable)

    def commits(self) -> None:
        """Say that a transaction was committed: the group knows these partitions as they are."""
        self._short.clear()

    def forget_ends(self) -> None:
        """Wait for the next look: what is owned has changed."""
        self._ends = {}

    def _see_leaders(self, committed: Mapping[TopicPartition, int]) -> None:
        without = {source for source in committed if source not in self._ends}
        for source in sorted(without.difference(self._without_leader)):
            logger.warning(
                "%s@%d: the partition has no leader; the others go on, and it does as soon as one leads",
                source,
                committed[source],
            )
        self._without_leader = without
