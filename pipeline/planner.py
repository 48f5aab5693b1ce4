"""Cuts the waiting offsets into claims, and bounds what is in flight. That bound is the backpressure.

Promises: never more claims or estimated bytes in flight than allowed; partitions take turns; claims grow with
the lag and with the measured speed of a replica, and shrink at a trickle. After an execution failed, what it
held is handed out again alone, one claim at a time, and halved each time it fails, so that one poisonous
message is found without touching its neighbours; which of its rows it is, a trial finds. Never reads payload;
knows neither the broker nor the engine.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.errors import ReplicasKeepDying
from pipeline.ledger import Ledger
from pipeline.records import Claim, Mode, Settled, TopicPartition

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
    max_claims: int
    """Claims handed out and not yet committed."""
    max_bytes: int
    """Payload bytes handed out and not yet committed, estimated from what came back."""


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
        self._seconds_per_offset: float | None = None
        self._bytes_per_offset = 0.0

    def observe(self, settled: Settled) -> None:
        """Learn speed and size from a claim that came back."""
        if settled.counts.scored:
            self._n_condemned = 0
        if settled.claim.condemned:
            return  # a trial's speed is not a replica's
        n_offsets = settled.claim.n_offsets
        seconds, size = settled.score_s / n_offsets, settled.n_bytes / n_offsets
        if self._seconds_per_offset is None:
            self._seconds_per_offset, self._bytes_per_offset = seconds, size
            return
        self._seconds_per_offset += SMOOTHING * (seconds - self._seconds_per_offset)
        self._bytes_per_offset += SMOOTHING * (size - self._bytes_per_offset)

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

    def _handed(self, ledger: Ledger) -> list[Claim]:
        """What is out and does not wait here."""
        waiting = set(self._waiting)
        return [claim for claim in ledger.unfinished() if claim not in waiting]

    def plan(self, ledger: Ledger, ends: Mapping[TopicPartition, int], mode: Mode) -> list[Claim]:
        """Cut what may be handed out now, and book it.

        Args:
            ledger: The books of the assignment; the claims are entered there.
            ends: End of the readable offsets of each partition (the last stable offset).
            mode: How far the model may act on what is cut now.

        Returns:
            The claims to hand out, in this order.
        """
        if any(claim.attempt > 1 for claim in ledger.unfinished()):
            # A suspect is tried alone, the last of them too: beside others its failure would tell nothing.
            alone = ledger.n_out() == len(self._waiting)
            return [self._waiting.popleft()] if alone else []
        claims = list(self._waiting)
        self._waiting.clear()
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
        """Whether more may be in flight."""
        in_flight_bytes = ledger.bytes_back() + ledger.offsets_out() * self._bytes_per_offset
        return ledger.in_flight() < self._bounds.max_claims and in_flight_bytes < self._bounds.max_bytes

    def _size(self, ledger: Ledger, ends: Mapping[TopicPartition, int]) -> int:
        """Offsets in the next claim: a fair part of the lag, within what a replica does in `target_s`."""
        bounds = self._bounds
        lag = sum(max(0, ends.get(source, 0) - ledger.cut_to(source)) for source in ledger.sources)
        if self._seconds_per_offset is None:
            most = min(FIRST_OFFSETS, bounds.max_offsets)
        elif self._seconds_per_offset == 0:
            most = bounds.max_offsets
        else:
            most = int(min(bounds.max_offsets, bounds.target_s / self._seconds_per_offset))
        share = math.ceil(lag / bounds.max_claims)
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
