"""Prepare: from a claim to what a replica can score. Read the range, decode, compose, tokenize.

Promises: a claim tried again gives the same pieces, cut at the same offsets; what cannot become a candidate is
rejected as a value; nothing raises for data. Broker trouble gives the claim back unread, and what the gate must
not go past is said as `Halted`. It knows no engine: whoever runs it hands in one claim and passes on what comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from actors.errors import ActorError
from actors.pairs import Fault
from actors.scorer import Prepares
from pipeline import link
from pipeline.codec import Limits, Origins, Work, decode, pack_work
from pipeline.errors import BundleRefused, FatalError, SettingsError, TransientError, Undecodable
from pipeline.kafka.reader import RangeReader, Reader
from pipeline.records import Candidates, Claim, Reason, Record, Rejected, Stage
from pipeline.settings import Settings

MAX_RECORDS = 16_384
"""Most messages in one piece of a claim."""

_REASONS = {
    Fault.EMPTY: Reason.EMPTY_TEXT,
    Fault.TOO_LONG: Reason.TEXT_TOO_LONG,
    Fault.LONE_SURROGATE: Reason.LONE_SURROGATE,
}
_DETAILS = {
    Reason.SCORING_FAILED: "scoring it ended the replica, each time it was tried",
    Reason.UNDECODABLE_BATCH: "the client cannot decode the record batch that holds this offset",
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A piece of a claim, ready to be scored."""

    claim: Claim
    """The range that it covers."""
    work: bytes
    """Packed `codec.payload.Work`."""
    n_bytes: int
    """Payload bytes that were read."""
    lost: int
    """Offsets at the start of the range that retention had deleted unread."""
    oldest_ms: int | None
    """Timestamp of the oldest record, epoch milliseconds; None without records."""
    prepare_s: float


class Prepare:
    """Turns claims into prepared pieces.

    Args:
        reader: Reads a range.
        preparer: Composes and tokenizes.
        limits: What an input message may be.
        max_bytes: Most payload bytes in one piece.
        reject_undecodable: Reject offsets that the client cannot decode, rather than halt.
    """

    def __init__(
        self,
        reader: Reader,
        preparer: Prepares,
        limits: Limits,
        *,
        max_bytes: int,
        reject_undecodable: bool = False,
    ) -> None:
        self._reader = reader
        self._preparer = preparer
        self._limits = limits
        self._max_bytes = max_bytes
        self._reject_undecodable = reject_undecodable

    def __call__(self, item: Claim | link.Warm) -> Iterator[Prepared | link.Unread | link.Halted | link.Warm]:
        """Prepare one claim, in as many pieces as the caps ask for. Blocks while it reads."""
        if isinstance(item, link.Warm):
            yield item
            return
        rest = item
        while True:
            began = time.monotonic()
            try:
                piece, work, n_bytes, lost = self._prepare(rest)
            except TransientError as trouble:
                yield link.Unread(rest, str(trouble))
                return
            except FatalError as fatal:
                yield link.Halted(rest, fatal)
                return
            oldest_ms = min((record.timestamp_ms for record in work.records), default=None)
            seconds = time.monotonic() - began
            yield Prepared(piece, pack_work(work), n_bytes, lost, oldest_ms, seconds)
            if piece.end == item.end:
                return
            rest = item.part(piece.end, item.end)

    def _prepare(self, claim: Claim) -> tuple[Claim, Work, int, int]:
        """The first piece of a claim: its range, its work, the bytes read and the offsets lost."""
        try:
            read = self._reader.read(
                claim.source, claim.start, claim.end, max_records=MAX_RECORDS, max_bytes=self._max_bytes
            )
        except Undecodable as problem:
            if not self._reject_undecodable or problem.offset != claim.start:
                raise
            # This offset alone: the next read meets what follows it, which may be the same batch again.
            piece = claim.part(claim.start, claim.start + 1)
            return piece, self._unscored([_unreadable(problem)], Reason.UNDECODABLE_BATCH, Stage.READ), 0, 0
        piece = claim.part(claim.start, read.end)
        lost = read.end - claim.start if read.lost_until is not None else 0
        n_bytes = sum(len(record.value or b"") + len(record.key or b"") for record in read.records)
        if claim.condemned:
            work = self._unscored(read.records, Reason.SCORING_FAILED, Stage.SCORE)
        else:
            work = self._work(read.records)
        return piece, work, n_bytes, lost

    def _work(self, records: list[Record]) -> Work:
        candidates, rejected = decode(records, self._limits)
        prepared = self._preparer.prepare(candidates.query, candidates.document)
        for at, problem in prepared.problems:
            reason, record, row = _REASONS[problem.fault], candidates.record[at], candidates.row[at]
            rejected.append(Rejected(record, row, reason, Stage.COMPOSE, str(problem)))
        origins = Origins.of(candidates, prepared.kept)
        return Work(records, origins, prepared.tokens.to_arrow(), rejected)

    def _unscored(self, records: list[Record], reason: Reason, stage: Stage) -> Work:
        """Work that is all rejects."""
        nothing = self._preparer.prepare([], [])
        rejected = [Rejected(at, -1, reason, stage, _DETAILS[reason]) for at in range(len(records))]
        no_candidates = Candidates([], [], [], [], [])
        return Work(records, Origins.of(no_candidates, []), nothing.tokens.to_arrow(), rejected)


def build(settings: Settings) -> Prepare:
    """Prepare as the settings describe it; opens the bundle.

    Args:
        settings: Of the gate.

    Returns:
        The stage; it connects to the broker with its first claim.

    Raises:
        BundleRefused: The bundle must not be used.
    """
    open_preparer = load_class(settings.pool.preparer)
    try:
        preparer = open_preparer(settings.bundle, max_chars=settings.limits.max_chars)
    except ActorError as error:
        raise BundleRefused(str(error)) from error
    return Prepare(
        RangeReader(settings.kafka),
        preparer,
        settings.limits.to_codec(),
        max_bytes=settings.claims.max_bytes,
        reject_undecodable=settings.gate.on_undecodable == "reject",
    )


def load_class(name: str) -> Callable[..., Any]:
    """The class that a setting names.

    Args:
        name: `module:name`.

    Returns:
        The class.

    Raises:
        SettingsError: There is none.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Callable[..., Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError("pool", f"there is no class {name!r}: {error}", "the settings") from error
    return found


def _unreadable(problem: Undecodable) -> Record:
    return Record(problem.offset, -1, None, None)
