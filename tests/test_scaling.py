"""The tables and the plan of docs/scaling.md follow from the figures that were measured."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scaling.md").read_text()
STREAM, SCALE = (
    json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text()) for name in ("stream", "scale")
)
LOAD, N_REPLICAS = 0.7, 2  # of the benchmark that measured the pairs per second
PARTS = ("keeper", "runner", "prepare", "score", "ray", "broker")


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


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_more_replicas_do_what_the_benchmark_says(n: int) -> None:
    rate, share, cores = (SCALE[f"replicas_{n}_{of}"] for of in ("rows_per_s", "efficiency", "runner_cores"))
    assert f"| {n} | {rate:,.0f} | {share:.2f} | {cores:.2f} |" in PAGE


@pytest.mark.parametrize("messages", ["json", "batch"])
def test_a_million_candidates_cost_what_the_benchmark_says(messages: str) -> None:
    costs = " | ".join(f"{SCALE[f'{messages}_{part}_cpu_s']:.1f}" for part in PARTS)
    assert f"| {costs} |" in PAGE


def test_what_a_gate_can_feed_follows_from_it() -> None:
    per_replica = round(STREAM["pairs_per_s"] / N_REPLICAS)
    assert f"replicas of {per_replica} pairs/s" in PAGE
    assert f"| {SCALE['claims_per_s']:.1f} | {SCALE['claims_per_s']:.0f} at `claims.target_s: 1`" in PAGE
    for name in ("json_keeper_cpu_s", "batch_keeper_cpu_s", "model_prepare_cpu_s_per_million"):
        per_s = 1e6 / SCALE[name]
        assert (
            f"| {round(per_s, -2):,.0f} | {per_s / per_replica:,.0f} | {round(per_s, -2):,.0f} / r |" in PAGE
        )


@pytest.mark.parametrize("gates", ["gates_1", "gates_2", "gates_4", "one_cluster"])
def test_several_gates_do_what_the_benchmark_says(gates: str) -> None:
    rate, cores, ready_s = (SCALE[f"{gates}_{of}"] for of in ("rows_per_s", "cores", "ready_s"))
    share = rate / (2000 * (2 if gates == "one_cluster" else int(gates[-1])))
    assert f"| {rate:,.0f} | {share:.2f} | {cores:.2f} | {ready_s:.0f} |" in PAGE


def test_the_plan_is_for_three_orders_of_magnitude() -> None:
    assert {number(row[0]) for row in rows()} == {10_000, 100_000, 1_000_000}


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_plan_follows_from_it(row: list[str]) -> None:
    pairs_per_s, messages, gates, partitions, replicas, target_s, of_any = row
    rate = number(pairs_per_s)
    commits = STREAM["json_rows_per_s" if messages == "JSON" else "batch_rows_per_s"]
    assert number(gates) == max(2, math.ceil(rate / (commits / 2)))
    assert number(partitions) == 4 * number(gates)
    per_replica = round(STREAM["pairs_per_s"] / N_REPLICAS)
    assert number(replicas) == math.ceil(rate / (LOAD * per_replica))
    assert number(target_s) == math.ceil(number(replicas) / number(gates) / (SCALE["claims_per_s"] / 2))
    assert number(of_any) == math.ceil(rate / LOAD)
