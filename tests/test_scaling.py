"""The plan of docs/scaling.md follows from the figures that were measured."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scaling.md").read_text()
STREAM = json.loads((ROOT / "bench" / "results" / "stream.json").read_text())
LOAD, N_REPLICAS = 0.7, 2  # of the benchmark that measured the pairs per second


def number(cell: str) -> int:
    return int(cell.replace(",", "").split()[0])


def rows() -> list[list[str]]:
    """The plan's, as cells."""
    plan = PAGE.partition("## The plan")[2].partition("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in re.findall(r"^\| [\d,]+ \|.*$", plan, re.MULTILINE)]


def test_what_was_measured_is_what_the_benchmark_says() -> None:
    replica = STREAM["pairs_per_s"] / N_REPLICAS
    assert f"| {replica:.0f} |" in PAGE
    for name in ("json_rows_per_s", "batch_rows_per_s"):
        assert f"| {round(STREAM[name], -2):,.0f} |" in PAGE
    for name in ("rotation_pause_s", "first_verdict_s"):
        assert f"| {STREAM[name]:.1f} |" in PAGE


def test_the_plan_is_for_three_orders_of_magnitude() -> None:
    assert {number(row[0]) for row in rows()} == {10_000, 100_000, 1_000_000}


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_plan_follows_from_it(row: list[str]) -> None:
    pairs_per_s, messages, gates, partitions, replicas, of_any = row
    rate = number(pairs_per_s)
    commits = STREAM["json_rows_per_s" if messages == "JSON" else "batch_rows_per_s"]
    assert number(gates) == max(2, math.ceil(rate / (commits / 2)))
    assert number(partitions) == 4 * number(gates)
    per_replica = round(STREAM["pairs_per_s"] / N_REPLICAS)
    assert number(replicas) == math.ceil(rate / (LOAD * per_replica))
    assert number(of_any) == math.ceil(rate / LOAD)
