"""Which claims are out, which have come back, and how far each partition is complete without a gap.

Promises: every offset handed out is released at most once, in offset order per partition, and only under
the assignment that it was cut under; what has not come back can be named at any time. Plain Python with no
clock and no input or output, so that every promise is property-tested.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from pipeline.errors import InvariantBroken
from pipeline.records import Claim, Completed, TopicPartition


@dataclass(slots=True)
class _Lane:
    """One partition: `committed <= released <= cut`."""

    committed: int
    released: int
    cut: int
    out: dict[int, Claim] = field(default_factory=dict)
    """What has not come back, by its first offset. Pieces shrink it."""
    back: dict[int, Completed] = field(default_factory=dict)
    """What came back and still waits for its turn, by first offset."""
    ends: deque[int] = field(default_factory=deque)
    """End of each claim that is not yet committed: its length is the number of claims in flight."""
    uncommitted: deque[tuple[int, int]] = field(default_factory=deque)
    """(end, payload bytes) of each piece that was released and is not yet committed."""


class Ledger:
    """The books of one assignment.

    Args:
        assignment: Its number.
        positions: Next offset of each partition that it owns.
    """

    def __init__(self, assignment: int, positions: Mapping[TopicPartition, int]) -> None:
        self.assignment = assignment
        self._lanes = {source: _Lane(at, at, at) for source, at in positions.items()}

    @property
    def sources(self) -> list[TopicPartition]:
        """The partitions of this assignment, in order."""
        return sorted(self._lanes)

    def cut_to(self, source: TopicPartition) -> int:
        """The offset that the next claim of a partition starts at."""
        return self._lanes[source].cut

    def committed_to(self, source: TopicPartition) -> int:
        """The next offset that no transaction has committed."""
        return self._lanes[source].committed

    @property
    def committed(self) -> dict[TopicPartition, int]:
        """The next offset that no transaction has committed, of each partition, in order."""
        return {source: self.committed_to(source) for source in self.sources}

    @property
    def cut(self) -> dict[TopicPartition, int]:
        """The offset that the next claim starts at, of each partition, in order."""
        return {source: self.cut_to(source) for source in self.sources}

    def in_flight(self, source: TopicPartition | None = None) -> int:
        """Claims handed out and not yet committed: of one partition, or of all."""
        lanes = self._lanes.values() if source is None else [self._lanes[source]]
        return sum(len(lane.ends) for lane in lanes)

    def n_out(self) -> int:
        """Claims, or pieces, that have not come back."""
        return sum(len(lane.out) for lane in self._lanes.values())

    def offsets_out(self) -> int:
        """Offsets that have not come back."""
        return sum(claim.n_offsets for lane in self._lanes.values() for claim in lane.out.values())

    def bytes_back(self) -> int:
        """Payload bytes that came back and are not yet committed."""
        return sum(
            sum(one.n_bytes for one in lane.back.values()) + sum(size for _, size in lane.uncommitted)
            for lane in self._lanes.values()
        )

    def hand_out(self, claim: Claim) -> None:
        """Book a new claim. It must start where the partition was cut last.

        Args:
            claim: Of this assignment.

        Raises:
            InvariantBroken: It is of another assignment, or leaves a gap, or overlaps.
        """
        lane = self._lanes.get(claim.source)
        if lane is None or claim.assignment != self.assignment or claim.start != lane.cut:
            raise InvariantBroken(f"{claim} cannot be handed out under assignment {self.assignment}")
        lane.out[claim.start] = claim
        lane.ends.append(claim.end)
        lane.cut = claim.end

    def replace(self, old: Claim, *new: Claim) -> None:
        """Book `new` claims, which together cover exactly `old`, in its place.

        Args:
            old: A claim that is out, as it was booked.
            *new: In offset order.

        Raises:
            InvariantBroken: `old` is not out, or `new` does not cover it.
        """
        lane = self._lanes.get(old.source)
        edges = [old.start, *(claim.end for claim in new)]
        starts = [claim.start for claim in new]
        if lane is None or lane.out.get(old.start) != old or starts != edges[:-1] or edges[-1] != old.end:
            raise InvariantBroken(f"{old} cannot be replaced by {', '.join(map(str, new))}")
        del lane.out[old.start]
        lane.out.update({claim.start: claim for claim in new})

    def accept(self, completed: Completed) -> bool:
        """Book a claim, or any piece of one, that came back.

        Args:
            completed: What came back; kept until it is released.

        Returns:
            False where it is of another assignment, or came back before: it has to be dropped.

        Raises:
            InvariantBroken: It overlaps what came back before, or reaches beyond its claim.
        """
        piece = completed.claim
        lane = self._lanes.get(piece.source)
        if piece.assignment != self.assignment or lane is None:
            return False
        if not _set_apart(lane, piece):
            return False
        del lane.out[piece.start]
        lane.back[piece.start] = completed
        return True

    def set_apart(self, piece: Claim) -> bool:
        """Book a piece of what is out as a claim of its own, which can be handed out again by itself.

        Args:
            piece: A claim that is out, or any part of one.

        Returns:
            False where it is of another assignment, or came back before: there is nothing to hand out.

        Raises:
            InvariantBroken: It overlaps what came back before, or reaches beyond its claim.
        """
        lane = self._lanes.get(piece.source)
        return piece.assignment == self.assignment and lane is not None and _set_apart(lane, piece)

    def release(self, *, max_messages: int) -> list[Completed]:
        """Take what is complete without a gap, in offset order per partition; each is given once.

        Args:
            max_messages: Stop taking once this many records are in it; at least one piece is given.

        Returns:
            What to publish next.
        """
        released: list[Completed] = []
        n_messages = 0
        for lane in self._lanes.values():
            while lane.released in lane.back and n_messages < max_messages:
                completed = lane.back.pop(lane.released)
                lane.released = completed.claim.end
                lane.uncommitted.append((completed.claim.end, completed.n_bytes))
                n_messages += max(1, completed.counts.records)
                released.append(completed)
        return released

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Book what a transaction committed.

        Args:
            positions: The next offset of each partition in it.

        Raises:
            InvariantBroken: A position does not increase, or runs ahead of what was released.
        """
        for source, position in positions.items():
            lane = self._lanes[source]
            if not lane.committed < position <= lane.released:
                raise InvariantBroken(
                    f"{source}: {position} committed, after {lane.committed}, with {lane.released} released"
                )
            lane.committed = position
            while lane.ends and lane.ends[0] <= position:
                lane.ends.popleft()
            while lane.uncommitted and lane.uncommitted[0][0] <= position:
                lane.uncommitted.popleft()

    def unfinished(self) -> list[Claim]:
        """What has not come back, in offset order per partition."""
        return [lane.out[start] for _, lane in sorted(self._lanes.items()) for start in sorted(lane.out)]

    def overtaken(self) -> list[Claim]:
        """What has not come back and holds up its partition, although later claims of it are back; one of each."""
        lanes = self._lanes.values()
        return [lane.out[lane.released] for lane in lanes if lane.back and lane.released in lane.out]


def _set_apart(lane: _Lane, piece: Claim) -> bool:
    """Cut what is out at both ends of the piece; False if none of the piece is out."""
    whole = _covering(lane, piece)
    if whole is None:
        if _overlaps(lane, piece):
            raise InvariantBroken(f"{piece} came back, but only part of it was out")
        return False
    edges = sorted({whole.start, piece.start, piece.end, whole.end})
    lane.out |= {start: whole.part(start, end) for start, end in pairwise(edges)}
    return True


def _covering(lane: _Lane, piece: Claim) -> Claim | None:
    """The claim that is out and holds the whole piece. Few are out at a time, so a scan is cheap."""
    for claim in lane.out.values():
        if claim.start <= piece.start and piece.end <= claim.end:
            return claim
    return None


def _overlaps(lane: _Lane, piece: Claim) -> bool:
    return any(claim.start < piece.end and piece.start < claim.end for claim in lane.out.values())
