"""What the fault suite found, one row per scenario, in a file that later runs add to."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import machine


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario: what was done, how often, and what it cost."""

    scenario: str
    rounds: int
    messages: int
    lost: int
    repeated: int
    out_of_order: int
    recovery_p50_s: float | None
    """The longest time without a committed verdict, from each fault on; None where nothing is struck."""
    recovery_max_s: float | None

    @classmethod
    def of(cls, scenario: str, recoveries: Sequence[float], **found: int) -> Row:
        """A row over the recoveries of its rounds, in seconds."""
        p50 = round(statistics.median(recoveries), 2) if recoveries else None
        longest = round(max(recoveries), 2) if recoveries else None
        return cls(scenario, recovery_p50_s=p50, recovery_max_s=longest, **found)


def record(path: Path, row: Row) -> None:
    """Write a row, in the place of an earlier one of its scenario; with where it was measured.

    A row of more messages than this one's is left as it is.
    """
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    if any(one["scenario"] == row.scenario and one["messages"] > row.messages for one in rows):
        return
    conditions = {name: machine.described()[name] for name in ("commit", "cpu", "cores")}
    others = [one for one in rows if one["scenario"] != row.scenario]
    path.parent.mkdir(exist_ok=True)
    written = sorted([*others, {**asdict(row), **conditions}], key=lambda one: one["scenario"])
    path.write_text(json.dumps(written, indent=2) + "\n")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table in Markdown, for `docs/reliability.md`."""
    lines = [
        "| what was done | rounds | messages | recovery, p50 | longest | lost | repeated | out of order |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        p50, longest = (_seconds(row[name]) for name in ("recovery_p50_s", "recovery_max_s"))
        counts = " | ".join(str(row[name]) for name in ("lost", "repeated", "out_of_order"))
        lines.append(
            f"| {row['scenario']} | {row['rounds']} | {row['messages']:,} | {p50} | {longest} | {counts} |"
        )
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
