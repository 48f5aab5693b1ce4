"""Write: a scored part into the output folder, and, where a topic is named, to Kafka; then it is marked done.

Promises, in this order: (1) verdicts and rejects are written, (2) verdicts are with the broker, (3) the mark is
set. What was killed before its mark is done again, to the same files, and its verdicts are sent again: a topic
gets each at least once. Knows no engine and no model.
"""

from __future__ import annotations

import json
import posixpath
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Self

import numpy as np

from pipeline.bulk.emit import Emit
from pipeline.bulk.known import as_column
from pipeline.bulk.score import Scored
from pipeline.bulk.store import Store
from pipeline.bulk.verdicts import parquet, verdict_table
from pipeline.codec.verdict import ACTIONS, VerdictContext
from pipeline.records import Action, Reason, TopicPartition
from pipeline.settings import Settings

VERDICTS, REJECTS, PARTS = "verdicts", "rejects", "parts"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a part, and what it took: its mark."""

    number: int
    n_rows: int
    actions: dict[str, int]
    reasons: dict[str, int]
    n_known: int
    """Verdicts whose scores were known from an earlier run."""
    core_s: float
    """CPU time of Prepare, Score and Write."""
    replica_s: float
    """How long a replica was busy with it."""
    n_emitted: int = 0
    """Messages that were sent."""
    effort: dict[str, int] = field(default_factory=dict)
    """What scoring it took: `records.Effort`."""

    def to_json(self) -> bytes:
        """The mark's content."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(content))


def mark_of(name: str) -> str:
    """The mark of the part of this name."""
    return f"{PARTS}/{name}.json"


def verdicts_of(action: Action, name: str) -> str:
    """The file of a part's verdicts, in the way that readers of Parquet call a column by its folder."""
    return f"{VERDICTS}/action={action.value}/{name}.parquet"


def rejects_of(name: str) -> str:
    """The file of a part's rejects."""
    return f"{REJECTS}/{name}.parquet"


class Write:
    """Writes scored parts.

    Args:
        store: Where to.
        context: What the verdicts have in common.
        emit: Sends verdicts; None sends none.
    """

    def __init__(self, store: Store, context: VerdictContext, emit: Emit | None = None) -> None:
        self._store = store
        self._context = context
        self._emit = emit

    def __call__(self, scored: Scored) -> Iterator[Done]:
        """Write one part. Blocks until it is there.

        Args:
            scored: The part.

        Yields:
            What became of it.

        Raises:
            TransientError: The store or the broker does not take it.
        """
        cpu_began = time.process_time()
        part, verdicts = scored.part, scored.verdicts
        context = replace(self._context, source=TopicPartition(part.file, 0))
        # 1. Verdicts and rejects.
        actions: Counter[str] = Counter()
        for code, action in enumerate(ACTIONS):
            mask = verdicts.action == code
            if mask.any():
                table = verdict_table(verdicts.where(mask), context, as_column(scored.pairs[mask]))
                self._store.put(verdicts_of(action, part.name), parquet(table))
            actions[action.value] = int(np.count_nonzero(mask))
        if scored.rejects.num_rows:
            self._store.put(rejects_of(part.name), parquet(scored.rejects))
        # 2. The broker.
        n_emitted = 0 if self._emit is None else self._emit(verdicts, context)
        # 3. The mark.
        done = Done(
            number=part.number,
            n_rows=part.n_rows,
            actions=dict(actions),
            reasons={Reason(reason).value: n for reason, n in scored.reasons.items()},
            n_known=scored.n_known,
            core_s=scored.core_s + time.process_time() - cpu_began,
            replica_s=scored.replica_s,
            n_emitted=n_emitted,
            effort=scored.effort._asdict(),
        )
        self._store.put(mark_of(part.name), done.to_json())
        yield done


def build(settings: Settings, folder: str, context: VerdictContext, topic: str | None) -> Write:
    """Write as the settings describe it; opens the folder, and connects to the broker where there is a topic.

    Args:
        settings: Of the gate.
        folder: Address of the output folder.
        context: What the verdicts have in common.
        topic: Where they are sent, too.

    Returns:
        The stage.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One answers, and refuses us.
    """
    return Write(Store(folder), context, None if topic is None else Emit(settings, topic))


def marks(store: Store) -> list[Done]:
    """The parts of a run that are done. What others left half written is removed.

    So are marks that are damaged, or stand for files that are not there: the writer of who was killed may live on
    for moments, and set one after its files were removed.

    Args:
        store: The folder, held.

    Returns:
        One for each mark.

    Raises:
        TransientError: The store does not answer.
    """
    store.sweep()
    done: dict[str, Done] = {}
    marked = store.names(PARTS)
    written = {*store.names(VERDICTS), *store.names(REJECTS)}  # after the marks: a part is marked last
    for name in marked:
        with suppress(ValueError, TypeError):
            part = Done.from_json(store.get(name) or b"")
            if written.issuperset(_files_of(part, _part_of(name))):
                done[_part_of(name)] = part
                continue
        store.remove(name)
    for name in sorted(written):
        if _part_of(name) not in done:
            store.remove(name)
    return list(done.values())


def _files_of(part: Done, name: str) -> Iterator[str]:
    """What a mark stands for."""
    yield from (verdicts_of(Action(action), name) for action, n in part.actions.items() if n)
    if part.reasons:
        yield rejects_of(name)


def _part_of(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]
