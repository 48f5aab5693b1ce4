"""The three doors give one pair one verdict: the stream, the backfill and the online door on the same bundle."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest
import requests

from pipeline.reconcile import read_verdicts
from pipeline.records import Route
from tests.doors import Door
from tests.test_backfill import ended, start

if TYPE_CHECKING:
    from actors.bundle import Bundle
    from tests.integration.gates import Lab

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

N = 2_000
AT_ONCE = 250
KINDS = [
    "kettle",
    "lamp",
    "knife",
    "cup",
    "boot",
    "tent",
    "rope",
    "stove",
    "toddler",
    "waterproof",
    "red",
    "blue",
    "size",
    "44",
    "not",
    "for",
    "children",
]

Verdict = tuple[str, float, float]
"""Action, score and relevance."""


def candidates() -> list[dict[str, Any]]:
    """Short and long ones; a third of them are repeats, in whatever place."""
    draw = random.Random(5)

    def text(longest: int) -> str:
        return " ".join(draw.choices(KINDS, k=draw.randint(1, longest)))

    distinct = [(text(5), text(20)) for _ in range(2 * N // 3)]
    pairs = distinct + draw.choices(distinct, k=N - len(distinct))
    draw.shuffle(pairs)
    return [
        {"candidate_id": f"c{i}", "query": {"theme": theme}, "document": {"title": title}}
        for i, (theme, title) in enumerate(pairs)
    ]


def by_stream(lab: Lab, given: list[dict[str, Any]]) -> dict[str, Verdict]:
    lab.send(json.dumps(one).encode() for one in given)
    with lab.gate("claims.max_offsets=300") as gate:
        gate.until_settled(N)
        assert gate.stop() == 0
    routes = (Route.PRUNE, Route.REVIEW, Route.PASS)
    return {
        one["candidate_id"]: (one["action"], one["score"], one["relevance"])
        for route in routes
        for one in read_verdicts(lab.settings(), route)
    }


def by_backfill(
    ray_address: str, bundle: Bundle, folder: Path, given: list[dict[str, Any]]
) -> dict[str, Verdict]:
    source = folder / "items.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in given))
    ended(start(ray_address, bundle, [source, folder / "out"], "backfill.part_rows=170"))
    rows = (
        ds.dataset(folder / "out" / "verdicts", format="parquet", partitioning="hive").to_table().to_pylist()
    )
    return {one["candidate_id"]: (one["action"], one["score"], one["relevance"]) for one in rows}


def by_door(
    ray_address: str, bundle: Bundle, folder: Path, given: list[dict[str, Any]]
) -> dict[str, Verdict]:
    overrides = [f"bundle={bundle.path}", "name=agreeing", f"ray.address={ray_address}"]
    overrides += ["pool.cpus_per_replica=1", "queue.max_wait_s=300", "requests.deadline_s=300"]
    found = {}
    with Door(folder / "log", *overrides) as door:
        url = door.until_ready()
        for start_at in range(0, N, AT_ONCE):
            some = {"candidates": given[start_at : start_at + AT_ONCE]}
            for one in requests.post(f"{url}/v1/score", json=some, timeout=300).json()["verdicts"]:
                found[one["candidate_id"]] = (one["action"], one["score"], one["relevance"])
        assert door.stop() == 0
    return found


def test_each_pair_gets_the_same_action_and_the_same_score_to_the_bit(
    lab: Lab, ray_address: str, base_bundle: Bundle, tmp_path: Path
) -> None:
    given = candidates()
    found = by_stream(lab, given)
    assert len(found) == N
    assert {action for action, _, _ in found.values()} == {"prune", "review", "pass"}
    assert by_backfill(ray_address, base_bundle, tmp_path, given) == found
    assert by_door(ray_address, base_bundle, tmp_path, given) == found
