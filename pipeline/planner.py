"""Cuts the waiting offsets into claims, and bounds what is in flight. That bound is the backpressure.

Promises: never more estimated bytes in flight than allowed, nor more claims than it takes to drain the lag in
time; partitions take turns; claims grow with the lag and with the measured speed of a replica, and shrink at a
trickle. After an execution failed, what it held is handed out again alone, one claim at a time, and halved each
time it fails, so that one poisonous message is found without touching its neighbours; which of its rows it is,
a trial finds. Never reads payload; knows neither the broker nor the engine.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.errors import ReplicasKeepDying
from pipeline.ledger import Ledger
from pipeline.records import Claim, Completed, Mode, TopicPartition

FIRST_OFFSETS = 16
"""Most offsets in a claim before the first one has come back: an offset may hold one candidate or thousands."""
MAX_CONDEMNED = 5
"""Claims condemned in a row, with none scored between them, before it is taken for a broken machine."""
SMOOTHING = 0.2
"""Weight of the newest claim in the moving averages: about the last five count."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be in flight, and how large one claim may be."""

    max_offsets: int
    min_offsets: int
    target_s: float
    """Seconds that a replica should work on one claim."""
    claims_per_replica: int
    """Claims handed out and not yet committed, for each replica that the lag asks for."""
    min_replicas: int
    max_replicas: int
    drain_s: float
    """Seconds in which the lag should be drained, beside what comes in meanwhile; fewer ask for more replicas."""
    max_bytes: int
    """Payload bytes handed out and not yet committed, estimated from what came back."""


class _Taken(NamedTuple):
    """What a claim held, and the seconds that it took."""

    offsets: float
    n_bytes: float
    prepare_s: float
    score_s: float


class Planner:
    """Decides what is handed out next; the ledger remembers it.

    Args:
        bounds: What may be in flight.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        # To be handed out again; each is out in the ledger, as it is here.
        self._waiting: deque[Claim] = deque()
        self._n_condemned = 0
        self._turn = 0
        # Of the latest claims. Their ratios weigh large claims more: a small one is mostly its fixed cost.
        self._mean: _Taken | None = None
        self._max_claims = self._most_claims = bounds.claims_per_replica * bounds.min_replicas

    def observe(self, completed: Completed) -> None:
        """Learn speed and size from a claim that came back."""
        if completed.counts.scored:
            self._n_condemned = 0
        if completed.claim.condemned or completed.lost:
            return  # a trial's speed is not a replica's, and what was lost took none
        taken = _Taken(completed.claim.n_offsets, completed.n_bytes, completed.prepare_s, completed.score_s)
        mean = self._mean or taken
        self._mean = _Taken(*(old + SMOOTHING * (new - old) for old, new in zip(mean, taken, strict=True)))
        # What small claims took at a trickle says too much of a lag: twofold, and then see what these take.
        self._most_claims = 2 * self._max_claims

    def forget(self) -> None:
        """Drop what was to be handed out again: a new assignment cuts it anew."""
        self._waiting.clear()

    def hand_again(self, ledger: Ledger) -> None:
        """Hand what is out once more, and first: its execution ended, through no fault of its claims."""
        self._waiting.extendleft(reversed(self._handed(ledger)))

    def hand_one_again(self, ledger: Ledger, claim: Claim) -> None:
        """Hand a claim, or a piece of one, once more, and first: it came back unread."""
        if claim not in self._waiting and ledger.set_apart(claim):
            self._waiting.appendleft(claim)

    def suspect(self, ledger: Ledger) -> None:
        """Hand what is out one at a time: one of the claims may have brought its execution down.

        A claim that fails alone, having failed before, is halved; a single message that does is condemned.

        Args:
            ledger: The books of the assignment; what becomes of the claims is entered there.

        Raises:
            ReplicasKeepDying: So many were condemned in a row that it cannot be the messages.
        """
        failed = self._handed(ledger)
        pieces = [replace(claim, attempt=claim.attempt + 1) for claim in failed]
        if len(failed) == 1 and failed[0].attempt > 1:
            pieces = _halves(pieces[0])
        self._n_condemned += sum(piece.condemned for piece in pieces)
        if self._n_condemned >= MAX_CONDEMNED:
            raise ReplicasKeepDying(self._n_condemned, str(pieces[0]))
        _book(ledger, failed, pieces)
        self._waiting.extendleft(reversed(pieces))

    def overtaken(self, ledger: Ledger) -> list[Claim]:
        """What an execution holds, although it gave back later claims of the same partition; see `Ledger`."""
        waiting = set(self._waiting)
        return [claim for claim in ledger.overtaken() if claim not in waiting]

    def _handed(self, ledger: Ledger) -> list[Claim]:
        """What is out and does not wait here."""
        waiting = set(self._waiting)
        return [claim for claim in ledger.unfinished() if claim not in waiting]

    def plan(
        self,
        ledger: Ledger,
        ends: Mapping[TopicPartition, int],
        mode: Mode,
        *,
        coming: int = 0,
        unreadable: Collection[TopicPartition] = (),
    ) -> list[Claim]:
        """Cut what may be handed out now, and book it.

        Args:
            ledger: The books of the assignment; the claims are entered there.
            ends: End of the readable offsets of each partition (the last stable offset).
            mode: How far the model may act on what is cut now.
            coming: Offsets that are expected within `drain_s`: as many as came in during the last.
            unreadable: Partitions of which nothing can be read now: what waits of them goes on waiting.

        Returns:
            The claims to hand out, in this order.
        """
        if any(claim.attempt > 1 for claim in ledger.unfinished()):
            # A suspect is tried alone, the last of them too: beside others its failure would tell nothing.
            readable = (claim for claim in self._waiting if claim.source not in unreadable)
            suspect = next(readable, None) if ledger.n_out() == len(self._waiting) else None
            if suspect is None:
                return []
            self._waiting.remove(suspect)
            return [suspect]
        self._max_claims = self._bound(ledger, ends, coming)
        claims = [claim for claim in self._waiting if claim.source not in unreadable]
        self._waiting = deque(claim for claim in self._waiting if claim.source in unreadable)
        sources = [source for source in ledger.sources if ends.get(source, 0) > ledger.cut_to(source)]
        self._turn += 1
        turn = self._turn % len(sources) if sources else 0
        sources = sources[turn:] + sources[:turn]
        while sources and self.has_room(ledger):
            size = self._size(ledger, ends)
            source = sources.pop(0)
            start = ledger.cut_to(source)
            waiting = ends[source] - start
            if waiting < self._bounds.min_offsets and ledger.in_flight(source) > 1:
                continue  # at a trickle let a few gather, rather than send each alone
            claim = Claim(source, start, start + min(size, waiting), ledger.assignment, mode)
            ledger.hand_out(claim)
            claims.append(claim)
            if claim.end < ends[source]:
                sources.append(source)
        return claims

    def has_room(self, ledger: Ledger) -> bool:
        """Whether more may be in flight, by the lag that was planned for last."""
        bytes_per_offset = self._mean.n_bytes / self._mean.offsets if self._mean else 0.0
        in_flight_bytes = ledger.bytes_back() + ledger.offsets_out() * bytes_per_offset
        return ledger.in_flight() < self._max_claims and in_flight_bytes < self._bounds.max_bytes

    def _bound(self, ledger: Ledger, ends: Mapping[TopicPartition, int], coming: int) -> int:
        """Claims that may be in flight: for the replicas that drain the lag in `drain_s`, and what is coming.

        Where Prepare takes longer than they do, it is as many as have to be in work at once.
        """
        bounds, mean = self._bounds, self._mean
        fewest, most = (bounds.claims_per_replica * n for n in (bounds.min_replicas, bounds.max_replicas))
        if mean is None:
            return fewest
        lag = sum(max(0, ends.get(source, 0) - at) for source, at in ledger.committed.items())
        per_s = (lag + coming) / mean.offsets / bounds.drain_s  # claims like the mean one
        replicas = math.ceil(per_s * mean.score_s)
        in_work = math.ceil(per_s * (mean.prepare_s + mean.score_s))
        wanted = max(bounds.claims_per_replica * replicas, in_work)
        return max(fewest, min(wanted, self._most_claims, most))

    def _size(self, ledger: Ledger, ends: Mapping[TopicPartition, int]) -> int:
        """Offsets in the next claim: a fair part of the lag, within what a replica does in `target_s`."""
        bounds, mean = self._bounds, self._mean
        lag = sum(max(0, ends.get(source, 0) - ledger.cut_to(source)) for source in ledger.sources)
        if mean is None:
            most = min(FIRST_OFFSETS, bounds.max_offsets)
        elif mean.score_s == 0:
            most = bounds.max_offsets
        else:
            most = int(min(bounds.max_offsets, bounds.target_s * mean.offsets / mean.score_s))
        share = math.ceil(lag / self._max_claims)
        return max(1, min(most, max(share, bounds.min_offsets)))


def _halves(claim: Claim) -> list[Claim]:
    if claim.n_offsets == 1:
        return [replace(claim, condemned=True)]
    middle = (claim.start + claim.end) // 2
    return [claim.part(claim.start, middle), claim.part(middle, claim.end)]


def _book(ledger: Ledger, failed: list[Claim], pieces: list[Claim]) -> None:
    """Enter the pieces in the place of the claims that they came from."""
    for claim in failed:
        within = [p for p in pieces if p.source == claim.source and claim.start <= p.start < claim.end]
        ledger.replace(claim, *within)
