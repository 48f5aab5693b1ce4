"""Reads a gate's topics back, input against outputs, and makes up the account.

Promises to see the outputs as any read_committed reader does, and to ask in an order that wrongs nobody while
the gate runs: first how far the group has committed, then the outputs up to all that was written by then. What
was committed before must be there; what comes after may be. It joins no group and writes nothing.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.account import N_EXAMPLES, Held, Report, account
from pipeline.codec import Audit, Format, decode, format_of, parse_audit
from pipeline.errors import InputError, PlaceRefused, Undecodable
from pipeline.kafka import topics
from pipeline.kafka.reader import RangeReader
from pipeline.records import Record, Route, TopicPartition
from pipeline.settings import Settings
from pipeline.sightings import Sightings

_CHUNK_RECORDS = 8192
_CHUNK_BYTES = 16 << 20
_FETCH_BYTES = 4 << 20
_OFFSETS_LATE_S = 5.0
"""How long the broker may take to show the offsets of a transaction whose messages it shows already."""


class Outputs:
    """What the outputs of a gate say about one run, as far as they were read. Used by one thread at a time.

    Args:
        settings: The gate's.
        run: The run number; by default the settings'.
    """

    def __init__(self, settings: Settings, *, run: int | None = None) -> None:
        self._settings = settings
        self.run = settings.gate.run if run is None else run
        self._next: dict[TopicPartition, int] = {}
        self._reader = _patient(settings)
        self.sightings = Sightings(settings.topics.input, run=self.run)
        self._audits: list[Audit] = []

    def catch_up(self, *, wait: bool) -> None:
        """Read on from where the last call ended, or was interrupted. Blocks.

        Args:
            wait: Read all that was written until now, and wait for transactions that are still open.
                Otherwise stop before the first of them.

        Raises:
            SettingsError: A topic is missing.
            BrokerUnreachable: No broker answers.
            BrokerRefused: One does, and does not let us read.
            TransientError: The broker went away; what was read is kept.
            Undecodable: The client cannot decode what is there.
        """
        for route, topic in self._settings.topics.outputs.items():
            for target, extent in extents(self._settings, route, topic).items():
                end = extent.high_watermark if wait else extent.last_stable
                for records, covered in _read(
                    self._reader, target, self._next.get(target, extent.earliest), end
                ):
                    self._take(target, Route(route), records)
                    self._next[target] = covered

    def audits_of(self, source: TopicPartition) -> list[Audit] | None:
        """The counts per claim of an input partition; None where passes are sent, and nobody needs them."""
        if self._settings.topics.pass_ is not None:
            return None
        return [audit for audit in self._audits if audit.source == source]

    def close(self) -> None:
        """Let go of the connections; what was seen stays."""
        self._reader.close()

    def _take(self, target: TopicPartition, route: Route, records: list[Record]) -> None:
        if route is not Route.AUDIT:
            self.sightings.take(target, route, records)
            return
        for record in records:
            try:
                audit = parse_audit(record.value or b"")
            except InputError:
                self.sightings.foreign.append(f"{target}@{record.offset}")
                continue
            if audit.run == self.run and audit.source.topic == self._settings.topics.input:
                self._audits.append(audit)


def reconcile_topics(
    settings: Settings,
    *,
    run: int | None = None,
    start: Mapping[int, int] | None = None,
    end: Mapping[int, int] | None = None,
    to_end: bool = False,
    outputs: Outputs | None = None,
) -> Report:
    """Account for everything that a gate's group has committed in one run. Blocks.

    Args:
        settings: The gate's; its limits say which messages are bad.
        run: The run number; by default that of `outputs`, or the settings'. For one that a later run has
            overtaken, give `end`: the group's offsets are about the later one.
        start: First offset by input partition; by default the first that still exists.
        end: The offset after the last, by input partition; by default as far as the group has committed.
        to_end: Account for all that the input holds, where `end` does not say otherwise.
        outputs: What was read of the outputs before; it is read on, and stays open.

    Returns:
        The report over all partitions.

    Raises:
        SettingsError: A topic is missing.
        PlaceRefused: `start` or `end` names a partition or an offset that there is not.
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us read.
        TransientError: The broker went away.
        Undecodable: The client cannot decode what is there, and `gate.on_undecodable` is `stop`.
    """
    if outputs is None:
        with closing(Outputs(settings, run=run)) as opened:
            return reconcile_topics(settings, start=start, end=end, to_end=to_end, outputs=opened)
    committed = _committed(settings)
    sources = extents(settings, "input", settings.topics.input)
    for places in (start, end):
        _check_places(sources, places or {})
    outputs.catch_up(wait=True)
    since = _committed_since(settings, outputs.sightings)
    total = _strange(outputs.sightings, known=sources)
    with closing(RangeReader(settings.kafka, fetch_bytes=_FETCH_BYTES)) as reader:
        for source, extent in sources.items():
            first = max(extent.earliest, (start or {}).get(source.partition, 0))
            reached = extent.last_stable if to_end else committed.get(source, first)
            last = max(first, min((end or {}).get(source.partition, reached), extent.last_stable))
            offset, rows = _messages(reader, settings, source, start=first, end=last)
            # A run that is said to end here can have said nothing later, however far the group is by now.
            until = last if source.partition in (end or {}) else max(last, since.get(source, last))
            held = Held(source, first, last, until, offset, rows)
            streams, audits = outputs.sightings.of(source), outputs.audits_of(source)
            total += account(held, streams, audits=audits)
            total += Report(pending=max(0, extent.last_stable - last))
    return total


def read_verdicts(settings: Settings, route: Route, *, run: int | None = None) -> Iterator[dict[str, Any]]:
    """Read what came to a topic of verdicts in one run, each as one mapping, JSON or Arrow alike. Blocks.

    Args:
        settings: The gate's.
        route: `prune`, `review` or `pass`, switched on.
        run: The run number; by default the settings'.

    Yields:
        Verdicts by field name, partition by partition, in order.

    Raises:
        SettingsError: The topic is missing.
        TransientError: The broker went away.
    """
    run = settings.gate.run if run is None else run
    with closing(_patient(settings)) as reader:
        for target, extent in extents(settings, route, settings.topics.outputs[route]).items():
            for records, _ in _read(reader, target, extent.earliest, extent.high_watermark):
                for record in records:
                    yield from (verdict for verdict in _rows(record) if verdict["run"] == run)


def extents(settings: Settings, name: str, topic: str) -> dict[TopicPartition, topics.Extent]:
    """From where to where each partition of a topic reaches.

    Args:
        settings: The gate's.
        name: What the settings call the topic.
        topic: Its own name.

    Returns:
        One entry per partition; at least one.

    Raises:
        SettingsError: There is no such topic.
    """
    found = topics.extents(settings.kafka, topic)
    if not found:
        raise settings.refuse(f"topics.{name}", f"there is no topic {topic!r}")
    return found


def _patient(settings: Settings) -> RangeReader:
    """A reader that waits for open transactions: one that its gate left behind ends by the broker's time-out."""
    patience_s = settings.publish.transaction_timeout_s + 20.0
    return RangeReader(settings.kafka, deadline_s=patience_s, fetch_bytes=_FETCH_BYTES)


def _read(
    reader: RangeReader, source: TopicPartition, start: int, end: int
) -> Iterator[tuple[list[Record], int]]:
    """A range in chunks: records, and up to where they cover it. What retention deleted is passed over."""
    while start < end:
        found = reader.read(source, start, end, max_records=_CHUNK_RECORDS, max_bytes=_CHUNK_BYTES)
        start = found.end
        yield found.records, start


def _messages(
    reader: RangeReader, settings: Settings, source: TopicPartition, *, start: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The input's messages in a range: offsets, and candidates in each; see `Held`."""
    limits = settings.limits.to_codec()
    offsets, rows = array("q"), array("q")
    while start < end:
        try:
            for records, covered in _read(reader, source, start, end):
                candidates, rejected = decode(records, limits)
                of_rows = candidates.record + [one.record for one in rejected if one.row >= 0]
                rows.extend(np.bincount(np.array(of_rows, np.int64), minlength=len(records)).tolist())
                offsets.extend(record.offset for record in records)
                start = covered
        except Undecodable as problem:
            if settings.gate.on_undecodable == "stop":
                raise
            # As the gate has it: this offset is one bad message, and the next read meets what follows.
            offsets.append(problem.offset)
            rows.append(0)
            start = problem.offset + 1
    return np.array(offsets, np.int64), np.array(rows, np.int64)


def _check_places(sources: Mapping[TopicPartition, topics.Extent], places: Mapping[int, int]) -> None:
    """An account of a place that there is not would close, over nothing."""
    known = {source.partition: (source, extent.high_watermark) for source, extent in sources.items()}
    for partition, offset in places.items():
        if partition not in known:
            raise PlaceRefused(
                f"partition {partition}", f"{next(iter(sources)).topic} has 0 to {len(known) - 1}"
            )
        source, end = known[partition]
        if not 0 <= offset <= end:
            raise PlaceRefused(str(source), f"has offsets from 0 to {end}, and not {offset}")


def _committed(settings: Settings) -> dict[TopicPartition, int]:
    return topics.committed(settings.kafka, settings.gate.group, settings.topics.input)


def _committed_since(settings: Settings, seen: Sightings) -> dict[TopicPartition, int]:
    """What the group has committed by now: at least what the outputs show, unless they show too much."""
    shown: dict[TopicPartition, int] = {}
    for stream, trail in seen.trails.items():
        shown[stream.source] = max(shown.get(stream.source, 0), int(trail.offset.max()) + 1)
    deadline = time.monotonic() + _OFFSETS_LATE_S
    while True:
        committed = _committed(settings)
        behind = any(end > committed.get(source, 0) for source, end in shown.items())
        if not behind or time.monotonic() > deadline:
            return committed
        time.sleep(0.2)


def _strange(seen: Sightings, known: Mapping[TopicPartition, object]) -> Report:
    """What no input partition answers for."""
    unknown = [(stream, len(trail)) for stream, trail in seen.trails.items() if stream.source not in known]
    names = [*seen.foreign, *(f"{stream.source}, which there is not" for stream, _ in unknown)]
    return Report(
        unexpected=len(seen.foreign) + sum(n for _, n in unknown),
        examples=tuple(f"unexpected: {name}" for name in names[:N_EXAMPLES]),
    )


def _rows(record: Record) -> list[dict[str, Any]]:
    value = record.value or b""
    if format_of(record.headers) is Format.ARROW:
        rows: list[dict[str, Any]] = pa.ipc.open_stream(value).read_all().to_pylist()
        return rows
    return [orjson.loads(value)]
