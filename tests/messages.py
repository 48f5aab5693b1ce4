"""Messages and batches of them, for tests: a batch is read back with kafka-python, whose format it has to be."""

from __future__ import annotations

from collections.abc import Iterable

from kafka.record.memory_records import MemoryRecords

from pipeline.codec import encode_batches, unpack_outputs
from pipeline.kafka.batches import records
from pipeline.records import Batch, Headers, Output, Route


def batch(*values: bytes | None, key: bytes | None = None, headers: Headers = ()) -> Batch:
    """A batch of these values, all with one key and the same headers."""
    (encoded,) = encode_batches(Output(Route.PASS, key, value, headers) for value in values)
    return encoded


def messages(encoded: Batch) -> list[Output]:
    """What a batch holds."""
    full = records(encoded, time_ms=1)
    full.close()
    (found,) = MemoryRecords(bytes(full.buffer()))
    return [Output(encoded.route, record.key, record.value, record.headers) for record in found]


def outputs_of(packed: bytes) -> list[Output]:
    """What the batches of a completed claim hold, route by route."""
    return all_of(unpack_outputs(packed))


def all_of(batches: Iterable[Batch]) -> list[Output]:
    """What several batches hold, one after the other."""
    return [output for encoded in batches for output in messages(encoded)]
