"""What the outputs say about the input: each verdict and reject names the candidate that it is about.

Promises to keep what was seen of one run and one input topic, stream by stream, in the order of its output
partition, in 17 bytes a candidate. A message that is neither verdict nor reject is kept by its place. It knows
no client and judges nothing: whether the account closes is for `account`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.codec import Format, format_of
from pipeline.errors import InputError
from pipeline.records import Action, Reason, Record, Route, TopicPartition

ENDINGS = (*Action, "rejected")
"""How a candidate can end, by the code that a trail holds."""
REJECTED = ENDINGS.index("rejected")
WHOLE = -1
"""The row that stands for a whole message."""

_CODES = {str(ending): code for code, ending in enumerate(ENDINGS)}
_MAX_OFFSET = 2**63
_MAX_ROW = 2**31


class Stream(NamedTuple):
    """One output partition, as far as it is about one input partition: within it, order is promised."""

    source: TopicPartition
    route: Route
    partition: int
    """Of the output topic."""


class Trail:
    """A stream's sightings, column by column, in the order in which a reader sees them."""

    def __init__(self) -> None:
        self._offset = array("q")
        self._row = array("q")
        self._ending = array("b")

    def add(self, offset: Sequence[int], row: Sequence[int], ending: Sequence[int]) -> None:
        """Append as many entries as each column has."""
        self._offset.extend(offset)
        self._row.extend(row)
        self._ending.extend(ending)

    @property
    def offset(self) -> NDArray[np.int64]:
        """Source offsets, int64 `[n]`; a copy, as the other columns are."""
        return np.array(self._offset, np.int64)

    @property
    def row(self) -> NDArray[np.int64]:
        """Rows within the source message, int64 `[n]`; `WHOLE` for all of it."""
        return np.array(self._row, np.int64)

    @property
    def ending(self) -> NDArray[np.int8]:
        """Positions in `ENDINGS`, int8 `[n]`: the policy's action, or that it was rejected."""
        return np.array(self._ending, np.int8)

    def __len__(self) -> int:
        return len(self._offset)


class Sightings:
    """Everything that was seen of one input topic in one run.

    Args:
        topic: The input topic. What names another one belongs to another gate, and is passed over.
        run: The run number; likewise.
    """

    def __init__(self, topic: str, *, run: int) -> None:
        self._topic = topic
        self._run = run
        self.trails: dict[Stream, Trail] = {}
        self.foreign: list[str] = []
        """Places of messages that are neither verdicts nor rejects, as `topic[partition]@offset`."""

    def take(self, target: TopicPartition, route: Route, records: Sequence[Record]) -> None:
        """Note what these messages of an output partition say; they follow on from those before."""
        for record in records:
            try:
                found = rejected(record) if route is Route.REJECT else verdicts(record)
            except InputError:
                self.foreign.append(f"{target}@{record.offset}")
                continue
            if found.run == self._run and found.source.topic == self._topic:
                trail = self.trails.setdefault(Stream(found.source, route, target.partition), Trail())
                trail.add(found.offset, found.row, found.ending)

    def of(self, source: TopicPartition) -> Iterator[tuple[Stream, Trail]]:
        """The streams about one input partition."""
        return ((stream, trail) for stream, trail in self.trails.items() if stream.source == source)


class Sighting(NamedTuple):
    """What one output message says: columns of equal length, all about one input partition."""

    source: TopicPartition
    run: int
    offset: Sequence[int]
    row: Sequence[int]
    ending: Sequence[int]


def verdicts(record: Record) -> Sighting:
    """Read whose verdicts a message holds, JSON or an Arrow batch.

    Args:
        record: Of a topic of verdicts.

    Returns:
        What they are about: one entry per verdict.

    Raises:
        InputError: It is no message of verdicts.
    """
    if format_of(record.headers) is Format.ARROW:
        return _arrow_verdicts(record.value or b"")
    try:
        said = orjson.loads(record.value or b"")
        source = TopicPartition(said["source_topic"], said["source_partition"])
        ending = _CODES[said["action"]]
        found = Sighting(source, said["run"], (said["source_offset"],), (said["source_row"],), (ending,))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(Reason.WRONG_TYPE, "not a verdict") from error
    return _checked(found)


def rejected(record: Record) -> Sighting:
    """Read which message, or which row of one, a reject is about.

    Args:
        record: Of the reject topic.

    Returns:
        What it is about: one entry.

    Raises:
        InputError: It is no reject of ours.
    """
    said: Mapping[str, bytes | None] = dict(record.headers)  # of repeats the last: the newest
    try:
        topic = (said["__connect.errors.topic"] or b"").decode()
        names = ("__connect.errors.partition", "sluice.run", "__connect.errors.offset", "sluice.row")
        partition, run, offset, row = (int(said[name] or b"") for name in names)
    except (KeyError, ValueError) as error:
        raise InputError(Reason.MISSING_FIELD, "not a reject") from error
    return _checked(Sighting(TopicPartition(topic, partition), run, (offset,), (row,), (REJECTED,)))


def _arrow_verdicts(value: bytes) -> Sighting:
    try:
        with pa.ipc.open_stream(value) as reader:
            table = reader.read_all()
        # Unpacking refuses a batch whose verdicts differ in one of these.
        (topic,), (partition,), (run,) = (
            pc.unique(table[name]).to_pylist() for name in ("source_topic", "source_partition", "run")
        )
        offset, row = (table[name].to_pylist() for name in ("source_offset", "source_row"))
        ending = [_CODES[action] for action in table["action"].to_pylist()]
        found = Sighting(TopicPartition(topic, partition), run, offset, row, ending)
        for extreme in (min, max):
            _checked(Sighting(found.source, run, (extreme(offset),), (extreme(row),), (extreme(ending),)))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(Reason.NOT_ARROW, "not a batch of verdicts") from error
    return found


def _checked(found: Sighting) -> Sighting:
    """The same; raises InputError if its source, its run or its first entry is not what it should be."""
    (topic, partition), offset, row = found.source, found.offset[0], found.row[0]
    if not (type(topic) is str and type(partition) is type(found.run) is type(offset) is type(row) is int):
        raise InputError(Reason.WRONG_TYPE, "the source of a verdict has the wrong type")
    if not (0 <= offset < _MAX_OFFSET and WHOLE <= row < _MAX_ROW):
        raise InputError(Reason.WRONG_TYPE, f"there is no source offset {offset}, row {row}")
    return found
