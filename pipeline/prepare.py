"""Prepare: from a claim to what a replica can score. Read the range, decode, compose, tokenize.

Promises: a claim tried again gives the same pieces, cut at the same offsets; what cannot become a candidate is
rejected as a value; nothing raises for data. Broker trouble gives the claim back unread, and what the gate must
not go past is said as `Halted`. A condemned message is decoded and tokenized in a process of its own first, and
rejected whole if that dies. It knows no engine: whoever runs it hands in one claim and passes on what comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
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
from pipeline.trial import Died, Trial

MAX_RECORDS = 16_384
"""Most messages in one piece of a claim."""

_REASONS = {
    Fault.EMPTY: Reason.EMPTY_TEXT,
    Fault.TOO_LONG: Reason.TEXT_TOO_LONG,
    Fault.LONE_SURROGATE: Reason.LONE_SURROGATE,
}
_TRIAL_SHARE = 1 / 6
"""Of `execution.hang_s`, for a trial. Score's comes after it, with two thirds, before anything is given back."""

Trying = Callable[[Sequence[list[Record]]], list[Work | Died]]
"""Does `Prepare`'s work on messages that may kill it; a `Trial`."""


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
        trial: Does the work on what may kill this process.
        max_bytes: Most payload bytes in one piece.
        reject_undecodable: Reject offsets that the client cannot decode, rather than halt.
    """

    def __init__(
        self,
        reader: Reader,
        preparer: Prepares,
        limits: Limits,
        *,
        trial: Trying,
        max_bytes: int,
        reject_undecodable: bool = False,
    ) -> None:
        self._reader = reader
        self._preparer = preparer
        self._limits = limits
        self._trial = trial
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
            detail = "the client cannot decode the record batch that holds this offset"
            work = self._rejected(_unreadable(problem), Reason.UNDECODABLE_BATCH, Stage.READ, detail)
            return piece, work, 0, 0
        piece = claim.part(claim.start, read.end)
        lost = read.end - claim.start if read.lost_until is not None else 0
        n_bytes = sum(len(record.value or b"") + len(record.key or b"") for record in read.records)
        if claim.condemned and read.records:
            work = self._try(read.records)
        else:
            work = _work(self._preparer, self._limits, read.records)
        return piece, work, n_bytes, lost

    def _try(self, records: list[Record]) -> Work:
        """The work on the one message of a condemned claim."""
        (work,) = self._trial([records])
        if isinstance(work, Died):
            detail = f"decoding and tokenizing it was given up: {work.how}"
            return self._rejected(records[0], Reason.PREPARING_FAILED, Stage.DECODE, detail)
        return work

    def _rejected(self, record: Record, reason: Reason, stage: Stage, detail: str) -> Work:
        """Work that is one reject."""
        nothing = self._preparer.prepare([], [])
        no_candidates = Candidates([], [], [], [], [])
        rejected = [Rejected(0, -1, reason, stage, detail)]
        return Work([record], Origins.of(no_candidates, []), nothing.tokens.to_arrow(), rejected)


def build(settings: Settings) -> Prepare:
    """Prepare as the settings describe it; opens the bundle.

    Args:
        settings: Of the gate.

    Returns:
        The stage; it connects to the broker with its first claim.

    Raises:
        BundleRefused: The bundle must not be used.
    """
    return Prepare(
        RangeReader(settings.kafka),
        _open_preparer(settings),
        settings.limits.to_codec(),
        trial=Trial(partial(_open_work, settings), limit_s=_TRIAL_SHARE * settings.execution.hang_s),
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


def _open_preparer(settings: Settings) -> Prepares:
    open_preparer = load_class(settings.pool.preparer)
    try:
        preparer: Prepares = open_preparer(settings.bundle, max_chars=settings.limits.max_chars)
    except ActorError as error:
        raise BundleRefused(str(error)) from error
    return preparer


def _open_work(settings: Settings) -> Callable[[list[Record]], Work]:
    """What a trial does, in its process."""
    return partial(_work, _open_preparer(settings), settings.limits.to_codec())


def _work(preparer: Prepares, limits: Limits, records: list[Record]) -> Work:
    """Decode, compose, tokenize."""
    candidates, rejected = decode(records, limits)
    prepared = preparer.prepare(candidates.query, candidates.document)
    for at, problem in prepared.problems:
        reason, record, row = _REASONS[problem.fault], candidates.record[at], candidates.row[at]
        rejected.append(Rejected(record, row, reason, Stage.COMPOSE, str(problem)))
    origins = Origins.of(candidates, prepared.kept)
    return Work(records, origins, prepared.tokens.to_arrow(), rejected)


def _unreadable(problem: Undecodable) -> Record:
    return Record(problem.offset, -1, None, None)
