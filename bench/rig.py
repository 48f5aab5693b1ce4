"""What every benchmark of the stream needs of a gate: to start it, to look at it, and figures of the looks.

The gate is the real command in a process of its own, on a real broker; it is watched through its `/status` and
`/metrics`, as an operator would.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from pipeline.settings import Settings
from pipeline.tether import tethered

REPOSITORY = Path(__file__).parents[1]
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a gate."""

    at: float
    """Seconds, `time.monotonic`."""
    scored: int
    """Candidates with a committed verdict since the gate started."""
    keeper_mb: float
    runner_mb: float


class Gate:
    """A gate that runs, and the looks taken at it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, started_at: float) -> None:
        self.started_at = started_at
        self._process = process
        self._log = log

    @property
    def keeper(self) -> int:
        """Process id of its keeper."""
        return self._process.pid

    def until(self, *, scored: int, timeout_s: float = 600) -> list[Sample]:
        """Look until so many candidates have a verdict; the looks from the first verdict on."""
        samples: list[Sample] = []
        deadline = time.monotonic() + timeout_s
        while not samples or samples[-1].scored < scored:
            self.check(deadline, f"settles no {scored} candidates")
            status = self.status()
            if status is not None and (n := n_scored(status)):
                samples.append(Sample(time.monotonic(), n, _mb(self._process.pid), _mb(status["runner"])))
            time.sleep(TICK_S)
        return samples

    def check(self, deadline: float, problem: str) -> None:
        """End the benchmark, with the gate's log, if the gate has ended or the deadline is over."""
        if self._process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the gate {problem}:\n{self._log.read_text()[-3000:]}")

    def end(self) -> None:
        """Ask it to end; whoever runs it waits for that."""
        self._process.send_signal(signal.SIGTERM)

    def status(self) -> dict[str, Any] | None:
        """What `/status` says; None before the doors are open."""
        text = self._ask("/status")
        return None if text is None else json.loads(text)

    def mean(self, name: str) -> float:
        """The mean of a histogram, in its unit."""
        text = self._ask("/metrics") or ""
        found = dict(re.findall(rf"^{name}_(sum|count) ([0-9.e+]+)", text, re.MULTILINE))
        return float(found["sum"]) / float(found["count"])

    def value(self, series: str) -> float:
        """The value of a series, which is named with its labels, as `/metrics` has them; 0 where there is none."""
        found = re.search(rf"^{re.escape(series)} ([0-9.e+]+)", self._ask("/metrics") or "", re.MULTILINE)
        return float(found[1]) if found else 0.0

    def _ask(self, path: str) -> str | None:
        opened = re.search(r"doors open at (\S+)", self._log.read_text(errors="replace"))
        if opened is None:
            return None
        with urllib.request.urlopen(opened[1] + path, timeout=10) as answer:
            text: str = answer.read().decode()
            return text


def sluice(*arguments: str, stdout: IO[bytes], stderr: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a command of `sluice` that does not outlive the thread which called, even when that is killed."""
    return subprocess.Popen(
        tethered(REPOSITORY, sys.executable, "-m", "pipeline.cli", *arguments),
        stdout=stdout,
        stderr=stderr,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


@contextmanager
def running(found: Settings) -> Iterator[Gate]:
    """A gate with these settings, stopped at the end."""
    with (
        tempfile.NamedTemporaryFile(prefix="sluice-bench-", suffix=".log") as log,
        log_settings(found) as file,
    ):
        began = time.monotonic()
        process = sluice("run", "-c", str(file), stdout=log, stderr=log)
        try:
            yield Gate(process, Path(log.name), began)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)


@contextmanager
def log_settings(found: Settings) -> Iterator[Path]:
    """The settings as a file that `sluice run` reads; JSON is YAML."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        path = Path(folder) / "settings.yaml"
        path.write_text(found.model_dump_json(by_alias=True))
        yield path


def rate(samples: Sequence[Sample]) -> float:
    """Candidates per second between the first verdicts and the last."""
    first, last = _apart(samples[0], samples[-1])
    return (last.scored - first.scored) / (last.at - first.at)


def growth_mb_per_million(samples: Sequence[Sample]) -> float:
    """How much keeper and runner grew together per million candidates, from a fifth of the run on, in MB.

    Before that, pools fill and caches warm up; what is wanted is what goes on growing.
    """
    first, last = _apart(samples[len(samples) // 5], samples[-1])
    grown = (last.keeper_mb + last.runner_mb) - (first.keeper_mb + first.runner_mb)
    return grown / (last.scored - first.scored) * 1e6


def _apart(first: Sample, last: Sample) -> tuple[Sample, Sample]:
    """Two looks; ends the benchmark if nothing was scored between them."""
    if last.scored == first.scored:
        sys.exit(f"all {last.scored} candidates were scored between two looks; raise --scale")
    return first, last


def n_scored(status: dict[str, Any]) -> int:
    """Candidates with a committed verdict, as `/status` has them."""
    counts = status.get("counts", {})
    return int(sum(counts.get(name, 0) for name in ("prune", "review", "pass_")))


def _mb(pid: int | None) -> float:
    if pid is None:
        return 0.0
    try:
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0
