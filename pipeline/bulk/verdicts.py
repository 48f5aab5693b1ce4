"""What a backfill writes of a part: verdicts by action, and rejects with the row as it was read.

The same part gives the same bytes whenever it is written: nothing in them tells of time, place or attempt. A
verdict is the stream's, with the file and the row for a source.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bulk.reading import Rows
from pipeline.codec.encode_arrow import arrow_verdicts
from pipeline.codec.verdict import VerdictContext, VerdictRows
from pipeline.records import Rejected

DIGEST = pa.binary(16)
"""Of a pair: see `known.digests`."""
_NAMES = {
    "candidate_id": "candidate_id",
    "score": "score",
    "relevance": "relevance",
    "prune_threshold": "prune_threshold",
    "review_threshold": "review_threshold",
    "guarantee": "guarantee",
    "bundle": "bundle",
    "source_topic": "source_file",
    "source_offset": "source_row",
}
"""Fields of the stream's verdict, and what they are called here. The action is the folder's name."""
_REPEATED = ["guarantee", "bundle", "source_file", "reason", "stage"]


def verdict_table(rows: VerdictRows, context: VerdictContext, pairs: pa.FixedSizeBinaryArray) -> pa.Table:
    """The verdicts of one action.

    Args:
        rows: The verdicts, n of them.
        context: What they have in common; its source is the file.
        pairs: Digests of the pairs, n of them.

    Returns:
        n rows, in order.
    """
    batch = arrow_verdicts(rows, context, time_ms=0)
    columns = {name: batch.column(of_stream) for of_stream, name in _NAMES.items()}
    return pa.table({**columns, "pair_digest": pairs})


def reject_table(rows: Rows, rejected: list[Rejected]) -> pa.Table:
    """The rejects of a part, in its order.

    Args:
        rows: All rows of the part.
        rejected: Which of them were rejected, and why.

    Returns:
        One row for each, with the row as it was read: its columns, or its line.
    """
    in_order = sorted(rejected, key=lambda one: one.row)
    chosen = np.array([one.row for one in in_order], np.int64)
    taken = rows.content.take(pa.array(chosen))
    return pa.table(
        {
            "source_file": pa.array([rows.part.file] * len(chosen), pa.string()),
            "source_row": pa.array(rows.at[chosen], pa.int64()),
            "reason": pa.array([one.reason.value for one in in_order], pa.string()),
            "stage": pa.array([one.stage.value for one in in_order], pa.string()),
            "detail": pa.array([one.detail for one in in_order], pa.string()),
            "row": taken.to_struct_array(),
        }
    )


def parquet(table: pa.Table) -> bytes:
    """A file of Parquet, always the same for the same rows."""
    sink = pa.BufferOutputStream()
    dictionaries = [name for name in _REPEATED if name in table.column_names]
    pq.write_table(table, sink, compression="zstd", use_dictionary=dictionaries)
    return bytes(sink.getvalue())
