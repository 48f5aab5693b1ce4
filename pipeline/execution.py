"""One execution, as its keeper sees it: a runner process, the link to it, and what it is doing.

Promises: starting never blocks; an execution that was told to end is killed when it does not; when its process
is gone, so is everything that it started. Knows nothing of claims but that they go in and come out.
"""

from __future__ import annotations

import enum
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

from pipeline import link
from pipeline.process import kill_group
from pipeline.records import Claim
from pipeline.settings import Settings

RUNNER = ("-m", "pipeline.runner")


class Outcome(enum.StrEnum):
    """How an execution ended."""

    FINISHED = "finished"
    """It was told to end, and did."""
    NEVER_WARM = "never_warm"
    """It ended, by itself or not, before its pool had answered: no claim can be the reason."""
    NO_CLUSTER = "no_cluster"
    """It ended because no Ray cluster answers."""
    FAILED = "failed"
    """It gave up by itself: one of its claims may be the reason."""
    KILLED = "killed"
    """A signal ended it, ours or another's."""


class Execution:
    """A runner and the link to it. `close` must be called; it kills what is left.

    Args:
        number: Counts the executions of this gate.
        settings: Handed to the runner.
        program: What the interpreter is to run, as its arguments.
    """

    def __init__(self, number: int, settings: Settings, program: Sequence[str] = RUNNER) -> None:
        self.number = number
        self.started_at = self.heard_at = time.monotonic()
        """When it was started, and when it was last heard of: `time.monotonic()`, seconds."""
        self.n_results = 0
        self.warm = False
        """The pool has answered."""
        self.ending_since: float | None = None
        """When it was told to end."""
        self._link = link.Link()
        self._process = subprocess.Popen(
            [sys.executable, *program],
            stdin=subprocess.PIPE,
            stdout=sys.stderr,  # standard output belongs to whoever runs the gate
            start_new_session=True,  # the terminal's Ctrl-C is for the keeper alone
        )
        job = link.Job(number, os.getpid(), self._link.address, settings.model_dump_json(by_alias=True))
        if self._process.stdin is not None:
            self._process.stdin.write(pickle.dumps(job))
            self._process.stdin.close()

    @property
    def pid(self) -> int:
        """Process id of the runner."""
        return self._process.pid

    def hand(self, claims: Iterable[Claim]) -> None:
        """Give claims to the runner. Never blocks."""
        self._link.hand(claims)

    def take(self, timeout_s: float) -> list[link.Frame]:
        """What came back, waiting at most `timeout_s` for the first; nothing once the runner is gone."""
        frames = self._link.take(timeout_s)
        if frames is None:
            self._reap(timeout_s)
            return []
        if frames:
            self.heard_at = time.monotonic()
            self.n_results += len(frames)
            self.warm = self.warm or any(isinstance(frame, link.Warm) for frame in frames)
        return frames

    def end(self) -> None:
        """Ask it to finish what it holds and exit. May be called again."""
        if self.ending_since is None:
            self.ending_since = time.monotonic()
            self._link.end()

    def kill(self) -> None:
        """End it at once, with everything that it started."""
        kill_group(self._process)

    def outcome(self) -> Outcome | None:
        """How it ended, or None while it runs, or while something that it gave back waits in `take`."""
        code = self._process.poll()
        if code is None or self._link.waiting:
            return None
        if code == 0 and self.ending_since is not None:
            return Outcome.FINISHED
        if not self.warm:
            return Outcome.NO_CLUSTER if code == link.NO_CLUSTER else Outcome.NEVER_WARM
        return Outcome.KILLED if code < 0 else Outcome.FAILED

    def close(self) -> None:
        """Kill what is left and close the link. May be called again."""
        self.kill()
        self._link.close()

    def _reap(self, timeout_s: float) -> None:
        """The link has ended, so the process is about to: wait for it instead of asking again at once."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return
