"""Candidates for benchmarks of the stream, and the way into a topic: one to a message, or many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson
import pyarrow as pa
from kafka import KafkaProducer

from actors.learn.catalogue import Item
from pipeline.settings import Settings

BATCH_ROWS = 256
ARROW = [("content-type", b"application/vnd.apache.arrow.stream")]


def candidate(i: int) -> bytes:
    """A message of one candidate, as JSON, of 0.2 KB."""
    query = f"waterproof hiking boots for men, size {38 + i % 8}"
    document = {
        "title": f"Trail boot {i}, leather, lace-up, brown",
        "brand": "Northway",
        "text": "grip sole " * 4,
    }
    return orjson.dumps({"candidate_id": f"candidate-{i}", "query": query, "document": document})


def messages(items: Iterable[Item]) -> list[bytes]:
    """A message for each item of the generated catalogue, as JSON."""
    return [
        orjson.dumps({"candidate_id": item.candidate_id, "query": item.query, "document": item.document})
        for item in items
    ]


def batches(n: int) -> Iterator[bytes]:
    """Messages of 256 candidates each, as Arrow; to be sent with the headers `ARROW`.

    Args:
        n: Candidates in all, a multiple of 256.
    """
    for first in range(0, n, BATCH_ROWS):
        rows = range(first, first + BATCH_ROWS)
        table = pa.table(
            {
                "candidate_id": [f"candidate-{i}" for i in rows],
                "query": [f"waterproof hiking boots for men, size {38 + i % 8}" for i in rows],
                "document": [f"Trail boot {i}, leather, lace-up, brown, by Northway" for i in rows],
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        yield sink.getvalue().to_pybytes()


def send(found: Settings, values: Iterable[bytes], headers: list[tuple[str, bytes]] | None = None) -> None:
    """Send messages to the input of these settings, to its four partitions in turn. Blocks until all are there."""
    with KafkaProducer(**found.kafka, linger_ms=5, batch_size=1 << 18) as producer:
        for i, value in enumerate(values):
            producer.send(found.topics.input, value, headers=headers, partition=i % 4)
        producer.flush()
