"""The brake: when too large a share of what was scored lately would be pruned, pruning stops.

A model that drifts, or a feed that changes, shows first as a creeping filter rate. The brake judges the policy's
actions, not the routes, and before they are published: what trips it is not pruned either. Pure.
"""

from __future__ import annotations

from collections import deque

from pipeline.records import Counts


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
        self.on = False
        """It has tripped."""

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
        self.on = False
