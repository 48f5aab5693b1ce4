"""One turn of infinity-emb's reranker, for `bench.scorer --infinity PYTHON`.

Run by the Python of an environment of its own (`uv pip install 'infinity-emb[torch]'`): its dependencies are older
than ours. Reads pairs of texts, warms up, finds its best batch size, scores, and prints how long that took.
Imports nothing of Sluice.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from infinity_emb import AsyncEmbeddingEngine, EngineArgs

BATCHES = (16, 32, 64, 128)
WARM = 64
TRIED = 256
"""Pairs by which a batch size is chosen."""

Pairs = Sequence[tuple[str, str]]


async def seconds(model: str, batch: int, pairs: Pairs) -> float:
    """How long a warm engine takes: a call for each query, all at once, so that it gathers them as it likes."""
    engine = AsyncEmbeddingEngine.from_args(
        EngineArgs(
            model_name_or_path=model,
            engine="torch",
            device="cpu",
            dtype="float32",
            batch_size=batch,
            model_warmup=False,
            compile=False,
            bettertransformer=False,
            lengths_via_tokenize=False,
        )
    )
    calls = [
        (query, [document for _, document in group])
        for query, group in itertools.groupby(sorted(pairs), key=lambda pair: pair[0])
    ]
    async with engine:
        await engine.rerank(query=pairs[0][0], docs=[document for _, document in pairs[:WARM]])
        began = time.monotonic()
        await asyncio.gather(*(engine.rerank(query=query, docs=documents) for query, documents in calls))
        return time.monotonic() - began


def main() -> None:
    """Take a model's folder and a file of pairs; print one line of JSON."""
    model, file = sys.argv[1:]
    pairs = [(query, document) for query, document in json.loads(Path(file).read_text(encoding="utf-8"))]
    took = {batch: asyncio.run(seconds(model, batch, pairs[:TRIED])) for batch in BATCHES}
    best = min(took, key=took.__getitem__)
    print(json.dumps({"seconds": asyncio.run(seconds(model, best, pairs)), "batch": best}))


if __name__ == "__main__":
    main()
