from __future__ import annotations

import json
from pathlib import Path

from tests.faults.results import Row, record, table

REPOSITORY = Path(__file__).parents[2]


def row(scenario: str, messages: int, recoveries: list[float]) -> Row:
    return Row.of(scenario, recoveries, rounds=3, messages=messages, lost=0, repeated=0, out_of_order=0)


def test_a_row_takes_the_place_of_its_scenarios_unless_that_was_of_more_messages(tmp_path: Path) -> None:
    path = tmp_path / "results" / "faults.json"
    for one in (
        row("b", 100, [1.0]),
        row("a", 100, [4.0, 2.0, 9.0]),
        row("b", 200, []),
        row("b", 150, [7.0]),
    ):
        record(path, one)
    found = [
        (one["scenario"], one["messages"], one["recovery_p50_s"], one["recovery_max_s"])
        for one in json.loads(path.read_text())
    ]
    assert found == [("a", 100, 4.0, 9.0), ("b", 200, None, None)]


def test_the_table_that_people_read_is_of_the_record() -> None:
    rows = json.loads((REPOSITORY / "bench" / "results" / "faults.json").read_text())
    assert table(rows) in (REPOSITORY / "docs" / "reliability.md").read_text()
