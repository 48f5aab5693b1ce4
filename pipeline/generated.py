"""The generated catalogue as messages for the input topic, some of them bad on purpose.

Promises that the same arguments give the same messages, that what is malformed must be rejected by the gate,
and that its kinds take turns: messages that are no candidates, and rows that are bad among good ones. The truth
about each candidate stays here, by its id. It knows no client.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import orjson

from actors.learn.catalogue import Item, generate
from actors.learn.vocabulary import Split
from pipeline.candidates import ARROW, SINGLES, Batching, Message, Row, messages, stream, table
from pipeline.codec.headers import CONTENT_TYPE
from pipeline.records import Headers

Kind = TypeVar("Kind")

_CHUNK = 20_000
"""Items that are generated, and held, at a time."""
_NEXT_SEED = 1_000_003
"""From one such chunk to the next; far from any seed that a person types, because ids hold the seed."""


def catalogue(n: int, *, seed: int) -> Iterator[Item]:
    """The candidates of the catalogue, with the truth about each: `Item.p_severe`, by `Item.candidate_id`.

    Args:
        n: How many.
        seed: Names the draw.

    Yields:
        Items of the themes that no model was trained on.
    """
    for chunk, start in enumerate(range(0, n, _CHUNK)):
        yield from generate(seed=seed + chunk * _NEXT_SEED, n=min(_CHUNK, n - start), split=Split.HELD_OUT)


def catalogue_messages(
    n: int, *, seed: int, batching: Batching = SINGLES, malformed: float = 0.0
) -> Iterator[Message]:
    """The catalogue as messages, with malformed ones in between, evenly spread.

    Args:
        n: Sound candidates.
        seed: Names the draw, of the candidates and of what is malformed.
        batching: How many to a message.
        malformed: Rejects to ask for per sound candidate, such as 0.01.

    Yields:
        Messages with `n` sound candidates, and about `n * malformed` messages and rows to be rejected.
    """
    rng = random.Random(f"malformed/{seed}")
    # Half of what is malformed are rows, which may share a batch with sound ones, half whole messages.
    rows = _spoilt(catalogue(n, seed=seed), rng, share=malformed / 2)
    bad_messages = _in_turn(_BAD_MESSAGES, rng)
    n_sound, n_bad = 0, 0
    for message in messages(rows, batching):
        yield message
        n_sound += message.n_candidates
        while n_bad < round(n_sound * malformed / 2):
            name, spoil = next(bad_messages)
            row = Row(f"malformed-{seed}-{n_bad:06d}", {"theme": "winter boots"}, {"title": "Boot, lined"})
            value, headers = spoil(row)
            yield Message(name.encode(), value, headers, n_candidates=0, n_malformed=1)
            n_bad += 1


def _spoilt(items: Iterator[Item], rng: random.Random, *, share: float) -> Iterator[Row]:
    """The items, and bad rows made like them in between."""
    bad_rows = _in_turn(_BAD_ROWS, rng)
    n_bad = 0
    for n_sound, item in enumerate(items, start=1):
        row = Row(item.candidate_id, item.query, item.document)
        yield row
        while n_bad < round(n_sound * share):
            name, spoil = next(bad_rows)
            yield spoil(row._replace(candidate_id=f"{item.candidate_id}-{name}", sound=False))
            n_bad += 1


def _in_turn(kinds: Mapping[str, Kind], rng: random.Random) -> Iterator[tuple[str, Kind]]:
    """Every kind as often as the next, in an order that is drawn once."""
    drawn = sorted(kinds.items())
    rng.shuffle(drawn)
    return itertools.cycle(drawn)


def _json(row: Row, **changed: object) -> bytes:
    content = {"candidate_id": row.candidate_id, "query": row.query, "document": row.document, **changed}
    return orjson.dumps(content)


def _arrow(row: Row) -> bytes:
    return stream(table([row]))


_BAD_ROWS: Mapping[str, Callable[[Row], Row]] = {
    "no-query": lambda row: row._replace(query=None),
    "no-document": lambda row: row._replace(document=None),
    "no-id": lambda row: row._replace(candidate_id=None),
    "empty-id": lambda row: row._replace(candidate_id=""),
}

_BAD_MESSAGES: Mapping[str, Callable[[Row], tuple[bytes | None, Headers]]] = {
    "null": lambda _: (None, ()),
    "empty": lambda _: (b"", ()),
    "not-utf8": lambda row: (_json(row).replace(b"winter", b"w\xefnter"), ()),
    "not-json": lambda row: (_json(row)[:-20], ()),
    "array": lambda row: (b"[" + _json(row) + b"]", ()),
    "number": lambda row: (_json(row, document=7), ()),
    "no-field": lambda row: (orjson.dumps({"candidate_id": row.candidate_id, "query": row.query}), ()),
    "duplicate-key": lambda row: (_json(row)[:-1] + b',"query":"boots"}', ()),
    "lone-surrogate": lambda row: (_json(row).replace(b"lined", b"\\ud83d"), ()),
    "unknown-type": lambda row: (_json(row), ((CONTENT_TYPE, b"text/csv"),)),
    "not-arrow": lambda row: (_json(row), ARROW),
    "truncated-arrow": lambda row: (_arrow(row)[:-12], ARROW),
    "no-column": lambda row: (stream(table([row]).drop_columns(["document"])), ARROW),
    "no-rows": lambda row: (stream(table([row]).slice(0, 0)), ARROW),
}
