"""How the work of a backfill is cut: always alike, from nothing but the input and two ceilings. Plain values.

A *part* is what is scored, written and marked done as one. A *stretch* is what is read in one go: some row
groups of a Parquet file, which may hold several parts, or one part's bytes of a file of JSON lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.candidate_files import Kind


class Part(NamedTuple):
    """Consecutive rows of one file."""

    number: int
    """Over all files, from 0."""
    file: str
    first: int
    """First row in the file, from 0; of JSON lines, the line."""
    n_rows: int
    """Rows; lines that are blank are none."""

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"part-{self.number:06d}"

    def __str__(self) -> str:
        return f"{self.file}, rows from {self.first}"


class RowGroup(NamedTuple):
    """A row group of a Parquet file, by its footer."""

    n_rows: int
    n_bytes: int
    """Of the columns that are read, before compression."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one reader reads in one go."""

    kind: Kind
    file: str
    parts: tuple[Part, ...]
    """In the order of the file; together all that the stretch covers."""
    start: int
    """First row group, or first byte."""
    stop: int
    """One past the last."""
    skipped: frozenset[int] = frozenset()
    """Parts, by number, that are read over: they are done."""

    @property
    def wanted(self) -> tuple[Part, ...]:
        """The parts that are to be done."""
        return tuple(part for part in self.parts if part.number not in self.skipped)


@dataclass(frozen=True, slots=True)
class Ceilings:
    """How large a part may be."""

    rows: int
    n_bytes: int
    """A part of one row may be larger."""


def of_groups(file: str, groups: Sequence[RowGroup], ceilings: Ceilings) -> Iterator[Stretch]:
    """Cut a Parquet file: small row groups share a part, a large one is several parts of one stretch.

    Args:
        file: The file.
        groups: Its row groups, in order.
        ceilings: Of a part.

    Yields:
        Stretches that cover the file; their parts are not numbered yet, see `numbered`.
    """
    rows = sum(group.n_rows for group in groups)
    row_bytes = sum(group.n_bytes for group in groups) / max(rows, 1)
    most = max(1, min(ceilings.rows, int(ceilings.n_bytes / max(row_bytes, 1))))
    first = start = held = 0
    for at, group in enumerate(groups):
        if held and held + group.n_rows > most:
            yield _stretch(file, first, held, most, groups=(start, at))
            first, start, held = first + held, at, 0
        held += group.n_rows
    if held:
        yield _stretch(file, first, held, most, groups=(start, len(groups)))


def _stretch(file: str, first: int, n_rows: int, most: int, *, groups: tuple[int, int]) -> Stretch:
    parts = tuple(Part(-1, file, first + at, min(most, n_rows - at)) for at in range(0, n_rows, most))
    return Stretch(Kind.PARQUET, file, parts, *groups)


def numbered(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """Number the parts from 0, in their order.

    Args:
        stretches: Of all files.

    Yields:
        The same with numbers.
    """
    n = 0
    for stretch in stretches:
        parts = tuple(part._replace(number=n + at) for at, part in enumerate(stretch.parts))
        n += len(parts)
        yield replace(stretch, parts=parts)


def without(stretches: Iterable[Stretch], done: frozenset[int]) -> list[Stretch]:
    """What is left to do.

    Args:
        stretches: All of them, numbered.
        done: Parts that are done, by number.

    Returns:
        The stretches that have another wanted part, told which to skip besides.
    """
    rest = [
        replace(one, skipped=one.skipped | done.intersection(part.number for part in one.parts))
        for one in stretches
    ]
    return [one for one in rest if one.wanted]


def first(stretches: Iterable[Stretch], n: int) -> list[Stretch]:
    """What is to be done first.

    Args:
        stretches: In order.
        n: How many parts.

    Returns:
        As many stretches as it takes; of the last, no more parts are wanted.
    """
    taken = []
    for stretch in stretches:
        wanted = stretch.wanted
        others = frozenset(part.number for part in wanted[n:])
        taken.append(replace(stretch, skipped=stretch.skipped | others))
        n -= len(wanted)
        if n <= 0:
            break
    return taken
