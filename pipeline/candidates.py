"""Candidates for the input topic, as messages: one as JSON, or several as an Arrow stream.

Promises messages as `docs/wire-format.md` has them, made one after the other, however many there are. What a
candidate holds is not looked at: a bad one makes a message all the same, for the gate to reject. It knows
neither where candidates come from nor a client.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson
import pyarrow as pa

from pipeline.codec import Format
from pipeline.codec.headers import CONTENT_TYPE
from pipeline.records import Headers

ARROW: Headers = ((CONTENT_TYPE, Format.ARROW.value),)
"""What tells a batch message."""

Side = str | Mapping[str, str] | None
"""Query or document: a flat text, fields by name, or nothing."""


class Row(NamedTuple):
    """One candidate."""

    candidate_id: str | None
    query: Side
    document: Side
    sound: bool = True
    """False for one that the gate must reject."""


class Message(NamedTuple):
    """One message for the input topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    n_candidates: int = 1
    """Sound candidates in it."""
    n_malformed: int = 0
    """Rejects that it asks for."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Which share of the candidates goes in batch messages, and how many in each."""

    share: float = 0.0
    """From 0, each candidate on its own, to 1, all in batches. Held to from the beginning on, never exceeded."""
    rows: int = 256
    """Candidates in a batch message; the last one may hold fewer."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.rows < 1:
            raise ValueError(f"need 0 <= share <= 1 and rows >= 1, not {self}")


SINGLES = Batching()
"""No batch messages."""


def messages(rows: Iterable[Row], batching: Batching) -> Iterator[Message]:
    """Put candidates into messages, in their order, keyed by their ids; a batch by its first one.

    Args:
        rows: The candidates.
        batching: How many to a message.

    Yields:
        Messages that hold every candidate once.
    """
    waiting = iter(rows)
    n, n_batched = 0, 0
    while True:
        as_batch = n_batched + batching.rows <= batching.share * (n + batching.rows)
        taken = list(itertools.islice(waiting, batching.rows if as_batch else 1))
        if not taken:
            return
        n += len(taken)
        if as_batch:
            n_batched += len(taken)
            yield _batch(taken)
        else:
            yield _single(taken[0])


def _single(row: Row) -> Message:
    value = orjson.dumps({"candidate_id": row.candidate_id, "query": row.query, "document": row.document})
    return Message(_key(row), value, (), *_tally([row]))


def _batch(rows: Sequence[Row]) -> Message:
    return Message(_key(rows[0]), stream(table(rows)), ARROW, *_tally(rows))


def table(rows: Sequence[Row]) -> pa.Table:
    """The columns of a batch message, one entry per candidate."""
    columns = {
        "candidate_id": pa.array([row.candidate_id for row in rows], pa.string()),
        "query": _column([row.query for row in rows]),
        "document": _column([row.document for row in rows]),
    }
    return pa.table(columns)


def stream(columns: pa.Table) -> bytes:
    """A batch message's value: an Arrow IPC stream, closed."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, columns.schema) as writer:
        writer.write_table(columns)
    return bytes(sink.getvalue())


def _column(sides: Sequence[Side]) -> pa.Array:
    """Fields become a struct; those that a row does not have are null in it, which means absent."""
    if all(side is None for side in sides):
        return pa.nulls(len(sides), pa.string())
    if any(isinstance(side, str) for side in sides) and any(isinstance(side, Mapping) for side in sides):
        sides = [{"text": side} if isinstance(side, str) else side for side in sides]
    return pa.array(sides)


def _key(row: Row) -> bytes | None:
    return None if row.candidate_id is None else row.candidate_id.encode()


def _tally(rows: Sequence[Row]) -> tuple[int, int]:
    n_sound = sum(row.sound for row in rows)
    return n_sound, len(rows) - n_sound
