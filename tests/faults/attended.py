"""A gate with somebody who starts it again whenever it has ended, as an orchestrator does."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.faults.background import Background
from tests.integration.gates import Gate

START_AGAIN_S = 1.0


class Attended(Background):
    """One gate after another; a context manager, which ends the last of them.

    Args:
        start: Starts a gate.
    """

    def __init__(self, start: Callable[[], Gate]) -> None:
        super().__init__()
        self._start = start
        self.gate = start()
        """The latest."""
        self.exits: list[int] = []
        """How those before it ended: exit codes, negative for a signal."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.gate.kill()

    @property
    def keeper(self) -> int:
        """Process id of the keeper."""
        return self.gate.process.pid

    @property
    def runner(self) -> int:
        """Process id of the runner, once there is one."""
        return int(self.known("runner"))

    @property
    def replicas(self) -> list[int]:
        """Process ids of the replicas that have given something back."""
        return [int(name.rpartition(":")[2]) for name in self.known("replicas")]

    def status(self) -> dict[str, Any] | None:
        """What the gate says of itself; None while nobody answers."""
        if "doors open at" not in self.gate.log:
            return None
        try:
            return self.gate.status()
        except (AssertionError, OSError, ValueError):
            return None

    def known(self, name: str, timeout_s: float = 600.0) -> Any:
        """What the status says under a name, once it says something."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if found := (self.status() or {}).get(name):
                return found
            time.sleep(0.1)
        raise AssertionError(f"no {name} within {timeout_s:g} s:\n{self.gate.log[-4000:]}")

    def until_ended(self, times: int, timeout_s: float = 600.0) -> None:
        """Wait until the gate has ended so many times since the beginning."""
        deadline = time.monotonic() + timeout_s
        while len(self.exits) < times:
            assert time.monotonic() < deadline, f"the gate goes on:\n{self.gate.log[-4000:]}"
            time.sleep(0.05)

    def run(self) -> None:
        """Start a gate again whenever one has ended."""
        while not self.stopping.wait(0.05):
            code = self.gate.process.poll()
            if code is None:
                continue
            self.exits.append(code)
            if not self.stopping.wait(START_AGAIN_S):
                self.gate = self._start()
