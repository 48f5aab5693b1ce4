"""Prepare: from a claim to what a replica can score. Read the range, decode, compose, tokenize.

Promises: a claim tried again gives the same pieces, cut at the same offsets; what cannot become a candidate is
rejected as a value; nothing raises for data. Broker trouble gives the claim back unread, and what the gate must
not go past is said as `Halted`. A condemned message is decoded and tokenized in a process of its own first, and
rejected whole if that dies. It knows no engine: whoever runs it hands in one claim and passes on what comes.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import pyarrow as pa

from actors.pairs import Fault
from actors.scorer import Prepares
from pipeline import link
from pipeline.bundles import open_with
from pipeline.codec import Limits, Origins, Work, decode, pack_work
from pipeline.errors import FatalError, SettingsError, TransientError, Undecodable
from pipeline.kafka.reader import RangeReader, Reader
from pipeline.records import Candidates, Claim, Reason, Record, Rejected, Stage
from pipeline.settings import Settings
from pipeline.trial import Died, Trial

MAX_RECORDS = 8_192
"""Most messages in one piece of a claim."""
MAX_CANDIDATES = 8_192
"""Most candidates in one piece of several messages. A slow replica (50 candidates a second) gives it back within
`execution.hang_s`; the first claims, which nothing is known of, may hold a hundred thousand."""

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
    """Timestamp of the oldest record that has one, epoch milliseconds; None without."""
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
            covered = rest.start
            try:
                for piece in self._prepare(rest):
                    yield piece
                    covered = piece.claim.end
            except TransientError as trouble:
                yield link.Unread(rest, str(trouble))
                return
            except FatalError as fatal:
                yield link.Halted(rest, fatal)
                return
            if covered == item.end:
                return
            rest = item.part(covered, item.end)

    def _prepare(self, claim: Claim) -> Iterator[Prepared]:
        """The pieces that one read gives; what raises is the read, before the first of them."""
        began = time.monotonic()
        try:
            read = self._reader.read(
                claim.source, claim.start, claim.end, max_records=MAX_RECORDS, max_bytes=self._max_bytes
            )
        except Undecodable as problem:
            if not self._reject_undecodable or problem.offset != claim.start:
                raise
            detail = "the client cannot decode the record batch that holds this offset"
            work = self._rejected(_unreadable(problem), Reason.UNDECODABLE_BATCH, Stage.READ, detail)
            # This offset alone: the next read meets what follows it, which may be the same batch again.
            yield _prepared(claim.part(claim.start, claim.start + 1), work, began)
            return
        if claim.condemned and read.records:
            yield _prepared(claim.part(claim.start, read.end), self._try(read.records), began)
            return
        candidates, rejected = decode(read.records, self._limits)
        start = claim.start
        for first, stop in _cuts(candidates, len(read.records)):
            end = read.end if stop == len(read.records) else read.records[stop].offset
            records = read.records[first:stop]
            of_these = [
                one._replace(record=one.record - first) for one in rejected if first <= one.record < stop
            ]
            work = _compose(self._preparer, records, candidates.of(first, stop), of_these)
            lost = end - start if read.lost_until is not None else 0
            yield _prepared(claim.part(start, end), work, began, lost=lost)
            start, began = end, time.monotonic()

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
        open_preparer(settings),
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


def open_preparer(settings: Settings) -> Prepares:
    """The preparer that the settings name, on their bundle. Every door opens it here.

    Args:
        settings: Of the gate.

    Returns:
        The preparer.

    Raises:
        BundleRefused: The bundle must not be used.
    """
    opener = partial(load_class(settings.pool.preparer), max_chars=settings.limits.max_chars)
    preparer: Prepares = open_with(opener, settings.bundle)
    return preparer


def _open_work(settings: Settings) -> Callable[[list[Record]], Work]:
    """What a trial does, in its process."""
    return partial(_work, open_preparer(settings), settings.limits.to_codec())


def _work(preparer: Prepares, limits: Limits, records: list[Record]) -> Work:
    """Decode, compose, tokenize."""
    return _compose(preparer, records, *decode(records, limits))


def compose(
    preparer: Prepares, candidates: Candidates, rejected: list[Rejected]
) -> tuple[Origins, pa.RecordBatch]:
    """Compose and tokenize candidates. Every door prepares them here.

    Args:
        preparer: Composes and tokenizes.
        candidates: As they were decoded.
        rejected: Grows by those that have a problem.

    Returns:
        Where the others came from, and what the scorer needs of each.
    """
    prepared = preparer.prepare(candidates.query, candidates.document)
    for at, problem in prepared.problems:
        reason, record, row = _REASONS[problem.fault], candidates.record[at], candidates.row[at]
        rejected.append(Rejected(record, row, reason, Stage.COMPOSE, str(problem)))
    return Origins.of(candidates, prepared.kept), prepared.tokens.to_arrow()


def _compose(
    preparer: Prepares, records: list[Record], candidates: Candidates, rejected: list[Rejected]
) -> Work:
    origins, columns = compose(preparer, candidates, rejected)
    return Work(records, origins, columns, rejected)


def _prepared(piece: Claim, work: Work, began: float, *, lost: int = 0) -> Prepared:
    n_bytes = sum(len(record.value or b"") + len(record.key or b"") for record in work.records)
    # A message may have none, and what cannot be decoded has: -1, which is no time to count from.
    oldest_ms = min((one.timestamp_ms for one in work.records if one.timestamp_ms >= 0), default=None)
    return Prepared(piece, pack_work(work), n_bytes, lost, oldest_ms, time.monotonic() - began)


def _cuts(candidates: Candidates, n_records: int) -> Iterator[tuple[int, int]]:
    """Stretches of records, each of one message or of no more candidates than the cap; at least one."""
    first = at = 0
    while len(candidates) - at > MAX_CANDIDATES:
        stop = max(candidates.record[at + MAX_CANDIDATES], first + 1)
        yield first, stop
        first, at = stop, bisect_left(candidates.record, stop)
    if first < n_records or not n_records:
        yield first, n_records


def _unreadable(problem: Undecodable) -> Record:
    return Record(problem.offset, -1, None, None)
