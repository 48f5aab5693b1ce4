"""A gate without engine or model: what the real codec makes of a topic, published in one real transaction.

Scores follow from the ids, so that all three actions occur. A test may change what is published on the way:
lose, double or reorder messages, as a broken gate would.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

import kafka as kafka_python
import numpy as np
from kafka import KafkaProducer
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from actors.scorer import Scores
from pipeline.codec import (
    Audit,
    Origins,
    VerdictContext,
    decode,
    encode_audit,
    encode_rejects,
    encode_verdicts,
)
from pipeline.kafka import topics
from pipeline.kafka.reader import RangeReader
from pipeline.records import Mode, Output, TopicPartition
from pipeline.settings import Settings

Change = Callable[[list[Output]], list[Output]]


def settle(
    settings: Settings,
    *,
    run: int = 1,
    change: Change = list,
    commit: Mapping[int, int] | None = None,
) -> None:
    """Publish verdicts for all that the input holds, and commit the group's offsets.

    `commit` overrides the offset to commit, by partition.
    """
    offsets = {}
    with _transaction(settings) as producer, closing(RangeReader(settings.kafka)) as reader:
        for source, extent in topics.extents(settings.kafka, settings.topics.input).items():
            for output in change(_outputs(settings, reader, source, extent, run)):
                topic = settings.topics.outputs[output.route]
                producer.send(topic, output.value, output.key, list(output.headers), source.partition)
            offset = (commit or {}).get(source.partition, extent.last_stable)
            offsets[kafka_python.TopicPartition(*source)] = OffsetAndMetadata(offset, "", -1)
        producer.send_offsets_to_transaction(
            offsets, ConsumerGroupMetadata(settings.gate.group, -1, "", None)
        )


def _outputs(
    settings: Settings, reader: RangeReader, source: TopicPartition, extent: topics.Extent, run: int
) -> list[Output]:
    end = extent.last_stable
    if end == 0:
        return []
    records = reader.read(source, 0, end, max_records=1 << 20, max_bytes=1 << 30).records
    limits = settings.limits.to_codec()
    candidates, rejected = decode(records, limits)
    context = VerdictContext(
        source=source,
        run=run,
        bundle="sha256:0",
        prune_threshold=2.0,
        review_threshold=1.0,
        guarantee="none",
        mode=Mode.ENFORCE if settings.gate.enforce else Mode.OBSERVE,
        batch_verdicts=settings.publish.batch_verdicts,
        emit_pass=settings.topics.pass_ is not None,
    )
    action = np.array([zlib.crc32(name.encode()) % 3 for name in candidates.candidate_id], np.int8)
    scores = Scores(action.astype(np.float32), np.full(len(action), 0.5, np.float32), action)
    origins = Origins.of(candidates, range(len(candidates)))
    verdicts = encode_verdicts(records, origins, scores, context, time_ms=1)
    outputs = [*verdicts.outputs, *encode_rejects(records, rejected, source, limits, run=run)]
    if settings.topics.audit is not None:
        counts = verdicts.counts._replace(rejected=len(rejected), records=len(records))
        outputs.append(encode_audit(Audit(source, 0, end, run, context.mode, counts, time_ms=1)))
    return outputs


@contextmanager
def _transaction(settings: Settings) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(**settings.kafka, transactional_id=f"small-{settings.gate.group}")
    try:
        producer.init_transactions()
        producer.begin_transaction()
        yield producer
        producer.commit_transaction()
    finally:
        producer.close(timeout=60)
