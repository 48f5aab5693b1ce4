"""The backfill's figures, on a real Ray: `make bench-backfill`.

Two million short rows in Parquet through a preparer and a scorer that cost next to nothing, so that what is
measured is the backfill around them: rows a second, and the memory of all its processes. Then the same rows
with a hundredth of them changed, for what an earlier run saves. Prints a table and writes
`bench/results/backfill.json`. The aims are for two cores; one that is missed is written down as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from actors.learn.train import build_demo_bundle
from bench import machine, rig, scenarios
from bench.trivial import TRIVIAL
from pipeline.kafka.jars import cache_folder

RESULT = Path(__file__).parent / "results" / "backfill.json"
ROWS = 2_000_000
FEWEST_ROWS = 50_000
"""Three parts: the rate is measured from the first to the last."""
ROW_GROUP = 100_000
EVERY_S = 0.5
"""Between two looks at the memory."""
AIMS = {"rows_per_s": ">= 100000", "peak_mb": "<= 4000"}


def write_catalogue(path: Path, n: int, *, changed: int = 0) -> None:
    """So many short rows; every hundredth of them differs from that of another `changed`."""
    schema = pa.schema([(name, pa.string()) for name in ("candidate_id", "query", "document")])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, n, ROW_GROUP):
            rows = range(first, min(first + ROW_GROUP, n))
            versions = [changed if i % 100 == 0 else 0 for i in rows]
            columns = [
                [f"candidate-{i}" for i in rows],
                [f"waterproof hiking boots for men, size {38 + i % 8}" for i in rows],
                [
                    f"Trail boot {i}, leather, lace-up, brown, by Northway, no. {version}"
                    for i, version in zip(rows, versions, strict=True)
                ],
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROW_GROUP)


def measured(source: Path, out: Path, bundle: Path, *options: str) -> dict[str, float]:
    """Run a backfill to its end, in a process of its own, and look at all of its processes meanwhile."""
    chosen = [word for one in (f"bundle={bundle}", *TRIVIAL) for word in ("--set", one)]
    command = ["backfill", str(source), str(out), "--json", *options]
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = rig.sluice(*command, *chosen, stdout=said)
        peak_mb = 0.0
        while process.poll() is None:
            peak_mb = max(peak_mb, _tree_mb(process.pid))
            time.sleep(EVERY_S)
        if process.returncode:
            raise SystemExit(f"the backfill ended with exit code {process.returncode}")
        said.seek(0)
        told = json.loads(said.read())
    return {
        "rows_per_s": _working_rate(out, told["counts"]["rows"]),
        "rows_per_s_with_start": told["counts"]["rows"] / (time.monotonic() - began),
        "core_s_per_million": told["cost"]["per_million_rows"]["core_s"],
        "peak_mb": peak_mb,
        "known_share": told["counts"]["known"] / told["counts"]["rows"],
    }


def _working_rate(out: Path, n_rows: int) -> float:
    """Rows a second from the first part's mark to the last one's: without the start of Ray."""
    marks = sorted(out.glob("parts/*.json"), key=lambda mark: mark.stat().st_mtime)
    of_first = json.loads(marks[0].read_text())["n_rows"]
    return float((n_rows - of_first) / (marks[-1].stat().st_mtime - marks[0].stat().st_mtime))


def _tree_mb(pid: int) -> float:
    """What a process and all its descendants hold; of what they share, each has its part."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss / 1e6
    return total


def main() -> None:
    """Measure, show and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="multiplies the rows; below 1 nothing is recorded"
    )
    parser.add_argument(
        "--bundle", type=Path, help="any bundle, for no model is run; by default the demo's, made if need be"
    )
    arguments = parser.parse_args()
    scale = arguments.scale
    bundle = arguments.bundle or build_demo_bundle(cache_folder() / "bundles")
    with tempfile.TemporaryDirectory() as folder:
        here, n = Path(folder), max(FEWEST_ROWS, int(ROWS * scale))
        write_catalogue(here / "first.parquet", n)
        write_catalogue(here / "second.parquet", n, changed=1)
        first = measured(here / "first.parquet", here / "first", bundle)
        second = measured(here / "second.parquet", here / "second", bundle, "--previous", str(here / "first"))
    figures = {"rows": n, **first, **{f"again_{name}": value for name, value in second.items()}}
    scenarios.show(figures, AIMS)
    if scale >= 1:
        rounded = {name: round(value, 3) for name, value in figures.items()}
        RESULT.write_text(json.dumps({**rounded, "machine": machine.described()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
