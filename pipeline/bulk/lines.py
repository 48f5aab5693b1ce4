"""JSON lines in bulk: every line looked at once before anything is scored, and cut at bytes that can be gone to.

Promises to hold a few megabytes of a file at a time, and to name the line that is broken. Knows no store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import orjson

from pipeline.bulk.parts import Ceilings, Part, Stretch
from pipeline.candidate_files import Columns, Kind
from pipeline.codec.decode_json import why_unparsed
from pipeline.errors import DataUnusable, InputError
from pipeline.records import Reason

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK_BYTES = 4 << 20
_LONGEST_BYTES = 64 << 20
"""A line beyond this is no candidate; most likely the file holds no lines at all."""


@dataclass(slots=True)
class Scanned:
    """What the lines of a file are."""

    n_rows: int = 0
    n_bytes: int = 0
    digest: str = ""
    """`sha256:<hex>` of the file."""
    stretches: list[Stretch] = field(default_factory=list)
    """One for each part; not numbered yet."""


class Reads(Protocol):
    """What a file is read with."""

    def read(self, n_bytes: int, /) -> bytes:
        """So many bytes at most; none at the end."""
        ...


def scan(file: Reads, name: str, columns: Columns, ceilings: Ceilings) -> Scanned:
    """Look at every line. Blocks while the file is read.

    Args:
        file: From its beginning.
        name: For parts and errors.
        columns: What makes a candidate.
        ceilings: Of a part.

    Returns:
        How many there are, and how they are cut.

    Raises:
        DataUnusable: A line is not a JSON object, or no line has one of the columns.
    """
    found, digest = Scanned(), hashlib.sha256()
    missing, seen = set(columns.all), set[str]()
    first, start, n_rows, at = 0, 0, 0, 0

    def close(line: int) -> None:
        nonlocal first, start, n_rows
        part = Part(-1, name, first, n_rows)
        found.stretches.append(Stretch(Kind.JSON_LINES, name, (part,), start, at))
        found.n_rows += n_rows
        first, start, n_rows = line, at, 0

    number, unread = -1, ""
    for number, line in enumerate(_lines(file, name, digest)):
        if n_rows and (n_rows == ceilings.rows or at + len(line) - start > ceilings.n_bytes):
            close(number)
        at += len(line)
        if line.isspace():
            continue
        n_rows += 1
        try:
            content = read_line(line, f"{name}, line {number + 1}")
        except InputError as problem:
            unread = unread or f"line {number + 1}: {problem.detail}"
            continue
        if missing:
            seen |= content.keys()
            missing -= content.keys()
    if n_rows:
        close(number + 1)
    if missing and unread and not seen:
        raise DataUnusable(name, f"no line can be read, {unread}; is it compressed?")
    if missing and found.n_rows:
        raise DataUnusable(name, f"no line has {min(missing)!r}; there are {', '.join(sorted(seen))}")
    found.n_bytes, found.digest = at, "sha256:" + digest.hexdigest()
    return found


def read_line(line: bytes, here: str) -> dict[str, object]:
    """The object that a line holds.

    Args:
        line: With its end or without.
        here: The file and the line, for the error.

    Returns:
        Its values by name.

    Raises:
        DataUnusable: It holds none: most likely it was cut off, and who knows what else was.
        InputError: It does, but its text is none.
    """
    try:
        content = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problem = why_unparsed(line)
        if problem.reason is Reason.NOT_JSON:
            raise DataUnusable(here, f"not JSON: {problem.detail}") from error
        raise problem from error
    if not isinstance(content, dict):
        raise DataUnusable(here, "not a JSON object")
    return content


def _lines(file: Reads, name: str, digest: _Hash) -> Iterator[bytes]:
    """Each line with its end; the last one may have none."""
    rest = b""
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)
        if len(rest) > _LONGEST_BYTES:
            raise DataUnusable(name, f"there is no end of line within {_LONGEST_BYTES} bytes")
    if rest:
        yield rest
