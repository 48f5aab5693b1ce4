"""Real online doors for tests: `sluice serve` as a process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import requests

REPOSITORY = Path(__file__).parents[1]


class Door:
    """One `sluice serve`, on a free port. A context manager: leaving it kills what is left."""

    def __init__(self, log: Path, *overrides: str, environment: Mapping[str, str] | None = None) -> None:
        self._log = log
        arguments = [part for one in ("http.port=0", *overrides) for part in ("--set", one)]
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "serve", *arguments],
                stdout=sink,
                stderr=sink,
                cwd=REPOSITORY,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | dict(environment or {}),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(60)

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    @property
    def url(self) -> str:
        """Where it listens; waits until it does."""
        self.until(lambda: "door open at" in self.log, "opens")
        return self.log.rpartition("door open at ")[2].split()[0]

    def until(self, reached: Callable[[], object], what: str, timeout_s: float = 240) -> None:
        """Wait for something; fail with the log if it does not come, or if the door ends before."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert self.process.poll() is None, f"the door ended before it {what}:\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"no door that {what} in {timeout_s} s:\n{self.log[-4000:]}"
            time.sleep(0.05)

    def until_ready(self) -> str:
        """Wait until verdicts come; its address."""
        url = self.url
        self.until(lambda: requests.get(f"{url}/readyz", timeout=60).ok, "is ready")
        return url

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)
