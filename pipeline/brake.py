"""The brake: when too large a share of what was scored lately would be pruned, pruning stops.

A model that drifts, or a feed that changes, shows first as a creeping filter rate. The brake judges the policy's
actions, not the routes, and before they are published: what trips it is not pruned either.

It outlives the gate: whether it is on is noted with the offsets that the gate commits, so it goes where the
partitions go. Pure: the keeper reads the notes and commits them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from pipeline.note import Note
from pipeline.records import Counts, TopicPartition


class Brake:
    """A sliding window over the latest candidates; holds once it has tripped, until it is lifted.

    Args:
        max_share: Largest share of the window that may be pruned.
        window: Candidates in the window; fewer are not judged.
    """

    def __init__(self, *, max_share: float, window: int) -> None:
        self._max_share = max_share
        self._window = window
        self._counts: deque[Counts] = deque()
        self._total = Counts()
        self._n_pending = 0  # the last so many of the counts are not committed yet
        self._owned: frozenset[TopicPartition] = frozenset()
        self._noted: frozenset[TopicPartition] = frozenset()  # committed as braked
        self._lifted: frozenset[TopicPartition] = frozenset()  # the same, until the lift is committed
        self.on = False
        """It has tripped, here or where a partition was before."""

    @property
    def share(self) -> float | None:
        """Share of the window that would be pruned; None while nothing was scored."""
        return self._total.prune / self._total.scored if self._total.scored else None

    def judge(self, counts: Counts) -> bool:
        """Count what one claim would prune.

        Args:
            counts: The policy's actions, of one claim or a piece of it.

        Returns:
            True where this tripped the brake: only the first time, until it is lifted.
        """
        if not counts.scored:
            return False  # nothing to judge; kept, a feed of nothing but rejects would fill the memory
        self._counts.append(counts)
        self._total += counts
        self._n_pending += 1
        while self._total.scored - self._counts[0].scored >= self._window:
            self._total -= self._counts.popleft()
        share = self.share
        if self.on or share is None or self._total.scored < self._window or share <= self._max_share:
            return False
        self.on = True
        return True

    def keep(self) -> None:
        """What was judged is committed."""
        self._n_pending = 0

    def forget(self) -> None:
        """What was judged since `keep` is not committed: its candidates will come, and be judged, once more."""
        for _ in range(min(self._n_pending, len(self._counts))):
            self._total -= self._counts.pop()
        self._n_pending = 0

    def lift(self) -> None:
        """Let the model act again, and begin a new window."""
        self._counts.clear()
        self._total = Counts()
        self._n_pending = 0
        self._lifted |= self._noted
        self.on = False

    @property
    def unnoted(self) -> frozenset[TopicPartition]:
        """The partitions whose committed note says otherwise."""
        return self._owned - self._noted if self.on else self._noted

    def keep_note(self) -> None:
        """The note is committed, with every partition that was `unnoted`."""
        self._noted = self._owned if self.on else frozenset()
        self._lifted = frozenset()

    def take_over(
        self, owned: Iterable[TopicPartition], notes: Mapping[TopicPartition, str], *, settled: bool = True
    ) -> list[TopicPartition]:
        """Go on as the partitions of a new assignment were left: with one that was braked it is on.

        A note that was lifted here, and is still there because the lift could not be committed, counts no more;
        one that comes back after the partition was another gate's does.

        Args:
            owned: All partitions of the assignment.
            notes: What was committed with them, where there was a note.
            settled: False in the middle of a rebalance, when nothing is owned and all may come back.

        Returns:
            The partitions that put it on, in order; none where it was on already.
        """
        self._owned = frozenset(owned)
        self._noted = frozenset(source for source in self._owned if Note.read(notes.get(source, "")).braked)
        braked = self._noted - self._lifted
        if settled:
            self._lifted &= self._noted
        if self.on or not braked:
            return []
        self.on = True
        return sorted(braked)
