"""A part is marked done after all that the mark stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.bulk.parts import Part
from pipeline.bulk.score import Scored
from pipeline.bulk.store import Store
from pipeline.bulk.write import Write, marks
from pipeline.codec.verdict import VerdictContext, VerdictRows
from pipeline.errors import TransientError
from pipeline.records import Effort, Mode, Reason, TopicPartition

CONTEXT = VerdictContext(TopicPartition("", 0), 1, "sha256:0", 2.0, 1.0, "none", Mode.ENFORCE)


class Topic:
    """Keeps what it is sent, and notes what had been written by then."""

    def __init__(self, store: Store, *, away: bool = False) -> None:
        self.store = store
        self.away = away
        self.sent: list[tuple[str, int]] = []
        self.written: list[str] = []

    def __call__(self, rows: VerdictRows, context: VerdictContext) -> int:
        self.written = self.store.names()
        if self.away:
            raise TransientError("sending", "no broker")
        self.sent += [(context.source.topic, offset) for offset in rows.offset.tolist()]
        return len(rows.offset)


def scored() -> Scored:
    """Two passes and a prune, and a reject."""
    action = np.array([0, 2, 0], np.int8)
    nothing = np.zeros(3, np.int32)
    score = np.array([0.0, 3.0, 0.5])
    offset = np.array([4, 5, 7], np.int64)
    ids = pa.array(["a", "b", "d"])
    return Scored(
        part=Part(1, "items.parquet", 4, 4),
        verdicts=VerdictRows(nothing, nothing, offset, ids, score, score, action, CONTEXT.routes[action]),
        pairs=np.arange(6, dtype=np.uint64).reshape(3, 2),
        rejects=pa.table({"source_row": [6]}),
        reasons={Reason.EMPTY_TEXT: 1},
        n_known=1,
        effort=Effort(pairs=2, tokens=9),
        core_s=0.5,
        replica_s=0.25,
    )


def test_files_first_then_the_topic_then_the_mark(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    topic = Topic(store)
    (done,) = Write(store, CONTEXT, topic)(scored())
    files = [
        "rejects/part-000001.parquet",
        "verdicts/action=pass/part-000001.parquet",
        "verdicts/action=prune/part-000001.parquet",
    ]
    assert topic.written == files
    assert topic.sent == [("items.parquet", row) for row in (4, 5, 7)]
    assert store.names() == sorted([*files, "parts/part-000001.json"])
    assert (done.actions, done.reasons) == ({"pass": 2, "review": 0, "prune": 1}, {"empty_text": 1})
    assert (done.n_emitted, done.n_known, done.replica_s) == (3, 1, 0.25)
    assert (done.effort["pairs"], done.effort["tokens"]) == (2, 9)
    assert marks(store) == [done]


def test_without_the_broker_there_is_no_mark(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(TransientError, match="no broker"):
        list(Write(store, CONTEXT, Topic(store, away=True))(scored()))
    assert marks(store) == []
    assert store.names() == [], "what has no mark is removed before it is done again"


@pytest.mark.parametrize("lost", ["verdicts/action=prune", "verdicts/action=pass", "rejects"])
def test_a_mark_whose_files_are_not_there_is_none(tmp_path: Path, lost: str) -> None:
    """A successor removed what had no mark yet, then the writer of who was killed set one. Was it killed
    as well, the next one took the part for done: its rows were lost, and the manifest added up."""
    store = Store(str(tmp_path))
    list(Write(store, CONTEXT)(scored()))
    store.remove(f"{lost}/part-000001.parquet")
    assert marks(store) == []
    assert store.names() == []
