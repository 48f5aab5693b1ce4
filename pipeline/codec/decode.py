"""Records in, candidates out: the first thing that happens to what Kafka holds.

Promises: every record gives at least one candidate or one reject, so that nothing can vanish here; a bad
row inside a batch message rejects that row alone; whatever the bytes are, nothing is raised. It must not
know how texts are composed, nor what a broker is.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codec.decode_arrow import decode_batch
from pipeline.codec.decode_json import decode_candidate
from pipeline.codec.headers import Format, carried_bytes, format_of
from pipeline.codec.limits import Limits
from pipeline.errors import InputError
from pipeline.records import Candidates, Reason, Record, Rejected, Stage

_MAX_SPREAD = 256
"""Key and headers of a batch message, once for each of its rows, as so many of the largest messages: 25 KB each of
10,000 rows where a message may have 1 MB."""


def decode(records: Sequence[Record], limits: Limits) -> tuple[Candidates, list[Rejected]]:
    """Read a claim's records. Pure and CPU-bound; never raises for data.

    Args:
        records: A claim's records, in offset order.
        limits: Applied before a value is looked at.

    Returns:
        The candidates and what had to be rejected, each in source order.
    """
    found = Candidates([], [], [], [], [])
    rejected: list[Rejected] = []
    for index, record in enumerate(records):
        try:
            value = _value(record, limits)
            if format_of(record.headers) is Format.JSON:
                candidate_id, query, document = decode_candidate(value)
                found.record.append(index)
                found.row.append(0)
                found.candidate_id.append(candidate_id)
                found.query.append(query)
                found.document.append(document)
                continue
            batch = decode_batch(value)
            _check_spread(record, len(batch.row) + len(batch.problems), limits)
        except InputError as problem:
            rejected.append(_rejected(index, problem))
            continue
        found.record.extend([index] * len(batch.row))
        found.row.extend(batch.row)
        found.candidate_id.extend(batch.candidate_id)
        found.query.extend(batch.query)
        found.document.extend(batch.document)
        rejected.extend(_rejected(index, problem) for problem in batch.problems)
    return found, rejected


def _value(record: Record, limits: Limits) -> bytes:
    value = record.value
    if not value:
        raise InputError(Reason.EMPTY_VALUE, "the value is null" if value is None else "the value is empty")
    carried = carried_bytes(record.key, record.headers)
    if carried > limits.max_carried_bytes:
        raise InputError(
            Reason.TOO_LARGE, f"key and headers take {carried} bytes, the limit is {limits.max_carried_bytes}"
        )
    size = carried + len(value)
    if size > limits.max_message_bytes:
        raise InputError(
            Reason.TOO_LARGE, f"the message takes {size} bytes, the limit is {limits.max_message_bytes}"
        )
    return value


def _check_spread(record: Record, n_rows: int, limits: Limits) -> None:
    """Each reject of a row, and each verdict as JSON, has all of key and headers: a megabyte became gigabytes."""
    carried, most = carried_bytes(record.key, record.headers), _MAX_SPREAD * limits.max_message_bytes
    if n_rows * carried > most:
        raise InputError(
            Reason.TOO_LARGE,
            f"key and headers take {carried} bytes for each of {n_rows} rows, the limit is {most} together",
        )


def _rejected(index: int, problem: InputError) -> Rejected:
    return Rejected(index, problem.row, problem.reason, Stage.DECODE, problem.detail)
