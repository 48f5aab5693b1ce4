"""What goes to the audit topic where `pass` is switched off: counts per claim, in the verdicts' transaction.

With them every offset is accounted for although not every candidate has a message. Knows no client.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from pipeline.errors import InputError
from pipeline.records import Counts, Mode, Output, Reason, Route, TopicPartition


@dataclass(frozen=True, slots=True)
class Audit:
    """How the rows of one offset range ended, in one run."""

    source: TopicPartition
    start: int
    """First offset."""
    end: int
    """One past the last offset."""
    run: int
    mode: Mode
    """How far the model was allowed to act: whether what the policy said was also done."""
    counts: Counts
    time_ms: int
    """When it was counted, epoch milliseconds."""


def encode_audit(audit: Audit) -> Output:
    """One message, keyed by the source partition."""
    counts = audit.counts
    value = {
        "source_topic": audit.source.topic,
        "source_partition": audit.source.partition,
        "start": audit.start,
        "end": audit.end,
        "run": audit.run,
        "mode": audit.mode.value,
        "records": counts.records,
        "prune": counts.prune,
        "review": counts.review,
        "pass": counts.pass_,
        "rejected": counts.rejected,
        "time_ms": audit.time_ms,
    }
    return Output(Route.AUDIT, str(audit.source).encode(), orjson.dumps(value), ())


def parse_audit(value: bytes) -> Audit:
    """Read what `encode_audit` wrote.

    Args:
        value: The value of a message of the audit topic.

    Returns:
        An equal audit.

    Raises:
        InputError: It is no such message.
    """
    try:
        said = orjson.loads(value)
        source = TopicPartition(str(said["source_topic"]), int(said["source_partition"]))
        counts = Counts(*(int(said[name]) for name in ("prune", "review", "pass", "rejected", "records")))
        start, end, run, time_ms = (int(said[name]) for name in ("start", "end", "run", "time_ms"))
        mode = Mode(said["mode"])
    except orjson.JSONDecodeError as error:
        raise InputError(Reason.NOT_JSON, "the audit is not JSON") from error
    except KeyError as missing:
        raise InputError(Reason.MISSING_FIELD, f"the audit has no field {missing}") from missing
    except (TypeError, ValueError) as error:
        raise InputError(Reason.WRONG_TYPE, "a field of the audit has the wrong type") from error
    return Audit(source, start, end, run, mode, counts, time_ms)
