"""The scorer without a gate: what a benchmark of the gate is held against.

As many processes as the gate has replicas, each with a scorer of its own and as many threads, each preparing and
scoring its share of the pairs in a loop. Nothing is read, sent, or waited for.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from actors.learn.catalogue import Item
from actors.scorer import Preparer, Scorer

CLAIM = 500
"""Pairs at a time: claims of a second or so, as the gate cuts them."""


def rate(bundle: Path, items: Sequence[Item], *, replicas: int, threads: int) -> float:
    """Pairs per second. Blocks.

    Args:
        bundle: What to score with.
        items: The pairs.
        replicas: Processes.
        threads: Of each.

    Returns:
        All pairs, by the time from when every process has its model to when the last one is done.
    """
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(replicas + 1), context.Barrier(replicas + 1)
    shares = [items[at::replicas] for at in range(replicas)]
    workers = [
        context.Process(target=_work, args=(bundle, share, threads, (ready, done)), daemon=True)
        for share in shares
    ]
    for worker in workers:
        worker.start()
    ready.wait(120)
    began = time.monotonic()
    done.wait(600)
    return len(items) / (time.monotonic() - began)


def _work(bundle: Path, items: Sequence[Item], threads: int, barriers: tuple[Barrier, Barrier]) -> None:
    ready, done = barriers
    preparer, scorer = Preparer(bundle, max_chars=20_000), Scorer(bundle, threads=threads)
    ready.wait()
    for start in range(0, len(items), CLAIM):
        claim = items[start : start + CLAIM]
        texts = ([item.query for item in claim], [item.document for item in claim])
        scorer.score(preparer.prepare(*texts).tokens)
    done.wait()
