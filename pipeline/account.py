"""The account of one run: what was read, against what was said about it.

Promises: a candidate without an end is missing, one with two is repeated, an end without a candidate is
unexpected, and an order that broke is out of order; what closes is none of these. Where passes are not sent,
the audits' counts stand for them. Pure: arrays in, a report out. It knows no client and no wire format.

Each message of a partition has one place for itself and one for each of its rows. A message ends by its rows,
each once, or as a whole, once: a bad one has no rows, and a good one may be rejected as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from pipeline.codec import Audit
from pipeline.records import Mode, Route, TopicPartition
from pipeline.sightings import ENDINGS, REJECTED, WHOLE, Stream, Trail

N_EXAMPLES = 10
"""How many of each problem are named."""

_TALLIES = {Route.PASS: "pass_", Route.REVIEW: "review", Route.PRUNE: "prune", Route.REJECT: "rejected"}
"""Where the report counts what came to a topic."""


@dataclass(frozen=True, slots=True)
class Report:
    """How the account of a run stands. Reports of several partitions add up."""

    candidates: int = 0
    """What was read and has to be accounted for; a message rejected as a whole counts as one."""
    pass_: int = 0
    """By the topic that it came to; where that is switched off, by the audits."""
    review: int = 0
    prune: int = 0
    rejected: int = 0
    missing: int = 0
    repeated: int = 0
    unexpected: int = 0
    """Ends of what was never read; messages of an output topic that the gate did not write."""
    out_of_order: int = 0
    """Ends that came after a later one, per input partition and output partition."""
    pending: int = 0
    """Offsets that the group has not committed yet; nothing is said about them."""
    examples: tuple[str, ...] = field(default=())
    """The first of each problem, such as `missing: candidates[0]@12#3`."""

    @property
    def closed(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.missing or self.repeated or self.unexpected or self.out_of_order)

    def as_dict(self) -> dict[str, object]:
        """The report for JSON."""
        named = {one.name.rstrip("_"): getattr(self, one.name) for one in fields(self)}
        return {**named, "closed": self.closed}

    def __add__(self, other: Report) -> Report:
        """The sum, with the examples of both."""
        return Report(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True, slots=True)
class Held:
    """What an input partition holds between two offsets: columns with one entry per message, in offset order."""

    source: TopicPartition
    start: int
    """First offset of the account. What was said about earlier ones is passed over."""
    end: int
    """One past the last: from here on nothing has to have ended."""
    until: int
    """From here on nothing can have ended; what ends in between was committed during the look."""
    offset: NDArray[np.int64]
    """Ascending, int64 `[n]`."""
    rows: NDArray[np.int64]
    """Candidates in each message, int64 `[n]`; 0 where it is bad as a whole."""


def account(
    held: Held,
    streams: Iterable[tuple[Stream, Trail]],
    *,
    audits: Sequence[Audit] | None = None,
) -> Report:
    """Settle the account of one input partition.

    Args:
        held: What has to end.
        streams: What was seen of it. A stream of another partition must not be among them.
        audits: Counts per claim, where passes are not sent; None where they are.

    Returns:
        The report, without what is pending.
    """
    books = _Books(held)
    for stream, trail in streams:
        books.enter(stream.route, trail)
    if audits is None:
        books.close()
    else:
        books.close_by_counts(sorted(audits, key=lambda audit: (audit.start, audit.end)))
    return books.report()


class _Books:
    """The account while it is being made up.

    Args:
        held: What has to end.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        # Where each message's places begin; the first one stands for the message as a whole.
        self._first = np.concatenate([[0], np.cumsum(held.rows + 1)])
        n_places = int(self._first[-1])
        self._times = np.zeros(n_places, np.int32)
        self._ending = np.full(n_places, -1, np.int8)
        self._totals = dict.fromkeys(("candidates", "pass_", "review", "prune", "rejected"), 0)
        self._problems = dict.fromkeys(("missing", "repeated", "unexpected", "out_of_order"), 0)
        self._examples: dict[str, list[str]] = {problem: [] for problem in self._problems}

    def enter(self, route: Route, trail: Trail) -> None:
        """Note what a stream says; called once per stream."""
        held, offset, row, ending = self._held, trail.offset, trail.row, trail.ending
        message = np.searchsorted(held.offset, offset)
        known = message < len(held.offset)
        message[~known] = 0
        if len(held.offset):
            known &= held.offset[message] == offset
            known &= (row < held.rows[message]) & ((row > WHOLE) | (route is Route.REJECT))
        due = (offset >= held.start) & (offset < held.end)
        strange = (due & ~known) | (offset >= held.until)
        at = np.flatnonzero(strange)
        self._blame("unexpected", len(at), _names(held.source, offset[at], row[at]))

        good = due & known
        place = self._first[message[good]] + 1 + row[good]
        self._times += np.bincount(place, minlength=len(self._times)).astype(np.int32)
        self._ending[place] = ending[good]
        self._totals[_TALLIES[route]] += len(place)
        self._check_order(place)

    def close(self) -> None:
        """Every candidate must have ended, once."""
        wanted, ended = self._wanted(), self._times > 0
        missing = np.flatnonzero(wanted & ~ended)
        self._blame("missing", len(missing), self._named(missing))
        self._totals["candidates"] += int(wanted.sum())
        self._count_repeats(wanted)

    def close_by_counts(self, audits: Sequence[Audit]) -> None:
        """The audits must cover every message once, and what ended must be what they counted."""
        wanted, held = self._wanted(), self._held
        self._count_repeats(wanted)
        sums = np.concatenate([[0], np.cumsum(wanted)])
        by_ending = [np.concatenate([[0], np.cumsum(self._ending == code)]) for code in range(len(ENDINGS))]
        self._totals["candidates"] += int(sums[-1])
        covered = np.zeros(len(held.offset) + 1, np.int64)
        for audit in audits:
            if audit.end <= held.start:
                continue
            here = f"{held.source}@[{audit.start},{audit.end})"
            if audit.start >= held.until:
                self._blame("unexpected", 1, [f"the audit of {here}"])
                continue
            low, high = np.searchsorted(held.offset, (audit.start, audit.end))
            covered[low] += 1
            covered[high] -= 1
            if audit.start < held.start or audit.end > held.end:
                continue  # retention, or the end of the account, cut it: there is nothing to compare
            left, right = self._first[low], self._first[high]
            found = [int(ended[right] - ended[left]) for ended in by_ending]
            self._compare(audit, found, int(sums[right] - sums[left]), here)
        times = np.repeat(np.cumsum(covered[:-1]), held.rows + 1)
        uncovered = np.flatnonzero(wanted & (times == 0))
        self._blame("missing", len(uncovered), self._named(uncovered))
        twice = np.flatnonzero(wanted & (times > 1))
        self._blame("repeated", int((times[twice] - 1).sum()), self._named(twice))

    def report(self) -> Report:
        """The sum of it all."""
        lines = [f"{problem}: {name}" for problem, names in self._examples.items() for name in names]
        return Report(**self._totals, **self._problems, examples=tuple(lines))

    def _wanted(self) -> NDArray[np.bool_]:
        """The places by which the messages end: all rows, or the message as a whole."""
        heads = self._first[:-1]
        whole = (self._held.rows == 0) | (self._times[heads] > 0)
        wanted = np.repeat(~whole, self._held.rows + 1)
        wanted[heads] = whole
        return wanted

    def _check_order(self, place: NDArray[np.int64]) -> None:
        """Blame what comes after a later one. A repeat does not count: each place is where it came first."""
        if (np.diff(place) > 0).all():
            return  # as it should be, and then there is nothing to sort
        seen_at = np.sort(np.unique(place, return_index=True)[1])
        in_turn = place[seen_at]
        late = in_turn[in_turn < np.maximum.accumulate(in_turn)]
        self._blame("out_of_order", len(late), self._named(late))

    def _count_repeats(self, wanted: NDArray[np.bool_]) -> None:
        more = self._times - wanted  # -1 where it is missing
        again = np.flatnonzero(more > 0)
        self._blame("repeated", int(more[again].sum()), self._named(again))

    def _compare(self, audit: Audit, found: Sequence[int], n_wanted: int, here: str) -> None:
        """One claim's counts against what it held and what was seen of it."""
        counts, acting = audit.counts, audit.mode is not Mode.OBSERVE  # observed, all of it passes
        said = counts.scored + counts.rejected
        self._weigh("candidates", n_wanted, said, f"the audit of {here}")
        sent = {"prune": counts.prune, "review": counts.review} if acting else {"prune": 0, "review": 0}
        for name, n in (*sent.items(), ("rejected", counts.rejected)):
            self._weigh(name, n, found[REJECTED if name == "rejected" else ENDINGS.index(name)], here)
        self._totals["pass_"] += counts.scored - sum(sent.values())

    def _weigh(self, what: str, expected: int, found: int, here: str) -> None:
        problem = "missing" if found < expected else "unexpected"
        self._blame(problem, abs(expected - found), [f"{here}: {expected} {what}, found {found}"])

    def _blame(self, problem: str, n: int, names: Iterable[str]) -> None:
        self._problems[problem] += n
        if n:
            kept = self._examples[problem]
            kept.extend(name for name, _ in zip(names, range(N_EXAMPLES - len(kept)), strict=False))

    def _named(self, places: NDArray[np.int64]) -> Iterator[str]:
        places = places[:N_EXAMPLES]
        message = np.searchsorted(self._first, places, side="right") - 1
        return _names(self._held.source, self._held.offset[message], places - self._first[message] - 1)


def _names(source: TopicPartition, offset: NDArray[np.int64], row: NDArray[np.int64]) -> Iterator[str]:
    pairs = zip(offset[:N_EXAMPLES].tolist(), row[:N_EXAMPLES].tolist(), strict=True)
    return (f"{source}@{at}#{of}" for at, of in pairs)
