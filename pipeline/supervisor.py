"""Keeps an execution running: starts it, lets it go when idle, replaces it when it is old, hung or dead.

Promises: one execution at a time, because two of them would starve each other of what the cluster has left;
one that ended is reported once, with how it ended, so that its claims can be handed out again; while no cluster
answers it goes on trying for as long as the budget allows; one that cannot start for another reason, time after
time, stops the gate. It holds no claim and no position.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline import link
from pipeline.errors import ClusterUnreachable, ExecutionFailed
from pipeline.execution import Execution, Outcome
from pipeline.metrics import Metrics
from pipeline.records import Claim

logger = logging.getLogger(__name__)

MAX_FAILED_STARTS = 3
"""An execution that dies so often before its pool is warm will not start the next time either."""
PAUSE_S = 5.0
"""Before a cluster that did not answer is tried again."""
MAX_AHEAD = 2
"""Tasks that a replica is given at once (see `runner.flow`): so many times the budget a claim may take that is
behind another, while those of other replicas overtake it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one execution may take, in seconds where it is time."""

    start_s: float
    """To warm up its pool."""
    cluster_s: float
    """To find a cluster that answers, it and those after it together."""
    max_age_s: float
    max_results: int
    hang_s: float
    """To give back something while it holds claims, counted from when it was given the first. Twice that to give
    back a claim, once later ones of the same partition have come back: one of its replicas may hang."""
    end_s: float
    """To end once it was told to."""
    idle_s: float
    """To live on without lag."""


class Supervisor:
    """One execution after another. `close` must be called; it kills the one that runs.

    Args:
        budget: What one execution may take.
        start: Starts one; given its number.
        metrics: Told of every beginning and end.
        clock: `time.monotonic`, or a test's.
    """

    def __init__(
        self,
        budget: Budget,
        start: Callable[[int], Execution],
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._start = start
        self._metrics = metrics
        self._clock = clock
        self._execution: Execution | None = None
        self._number = 0
        self._failed_starts = 0
        self._busy_at = self._empty_at = clock()
        self._overtaken: Mapping[Claim, float] = {}
        self._paused_at: float | None = None
        # Since when no cluster answers, and when the next try is due.
        self._away_since: float | None = None
        self._due_at = clock()

    @property
    def number(self) -> int:
        """Number of the latest execution."""
        return self._number

    @property
    def runner(self) -> int | None:
        """Process id of the runner, while one runs."""
        return None if self._execution is None else self._execution.pid

    @property
    def warm(self) -> bool:
        """The pool has answered, and takes claims."""
        return self._execution is not None and self._execution.warm and self.takes_claims

    @property
    def takes_claims(self) -> bool:
        """There is an execution that was not told to end."""
        return self._execution is not None and self._execution.ending_since is None

    @property
    def without_cluster(self) -> bool:
        """No Ray cluster answered at the latest try that has ended."""
        return self._away_since is not None

    def hand(self, claims: Sequence[Claim]) -> None:
        """Give claims to the execution; only while it takes any. Never blocks."""
        if self._execution is not None and claims:
            self._execution.hand(claims)

    def take(self, timeout_s: float) -> list[link.Frame]:
        """What came back, waiting at most `timeout_s` for the first."""
        if self._execution is None:
            time.sleep(timeout_s)
            return []
        was_warm = self._execution.warm
        frames = self._execution.take(timeout_s)
        if self._execution.warm and not was_warm:
            self._warmed_up(self._execution)
        return frames

    def tend(self, *, wanted: bool, n_out: int, overtaken: Sequence[Claim] = ()) -> Outcome | None:
        """Look after the execution; to be called on every turn, after `take`.

        Args:
            wanted: There is lag, or something in flight.
            n_out: Claims that the execution holds.
            overtaken: Those of them that hold up their partition, although later ones of it have come back.

        Returns:
            How an execution ended, if one did just now: what it held has to be handed out again.

        Raises:
            ExecutionFailed: Executions die before they are warm, time after time.
            ClusterUnreachable: No cluster answered for as long as the budget allows.
        """
        now = self._clock()
        if wanted:
            self._busy_at = now
        if not n_out:
            self._empty_at = now
        execution = self._execution
        held = overtaken if execution is not None and execution.warm else ()
        self._overtaken = {claim: self._overtaken.get(claim, now) for claim in held}
        if execution is None:
            if wanted or self._number == 0 or self.without_cluster:
                if now >= self._due_at:
                    self._begin()
            elif self._paused_at is not None:
                self._paused_at = now  # nobody waits for it
            return None
        outcome = execution.outcome()
        if outcome is None:
            outcome = self._press(execution, now, n_out)
        if outcome is not None:
            self._ended(execution, outcome)
        return outcome

    def close(self) -> None:
        """Kill the execution, if one runs."""
        if self._execution is not None:
            self._execution.close()
            self._execution = None

    def _begin(self) -> None:
        self._number += 1
        self._execution = self._start(self._number)
        self._metrics.began_execution(self._number)
        logger.info("execution %d: started, runner %d", self._number, self._execution.pid)

    def _warmed_up(self, execution: Execution) -> None:
        self._failed_starts = 0
        self._away_since = None
        now = self._clock()
        if self._paused_at is not None:
            self._metrics.paused(now - self._paused_at)
            self._paused_at = None
        logger.info("execution %d: warm after %.1f s", execution.number, now - execution.started_at)

    def _press(self, execution: Execution, now: float, n_out: int) -> Outcome | None:
        """End an execution that has to go; say so if it went at once, by force."""
        budget, age = self._budget, now - execution.started_at
        if execution.ending_since is not None:
            if now - execution.ending_since > budget.end_s:
                return self._kill(execution, "does not end", Outcome.KILLED)
        elif not execution.warm:
            if age > budget.start_s:
                return self._kill(execution, "does not warm up", Outcome.NEVER_WARM)
        elif n_out and now - max(execution.heard_at, self._empty_at) > budget.hang_s:
            return self._kill(execution, f"holds {n_out} claims and gives none back", Outcome.FAILED)
        elif hung := [one for one, at in self._overtaken.items() if now - at > MAX_AHEAD * budget.hang_s]:
            return self._kill(execution, f"gives back what comes after {hung[0]}, not that", Outcome.FAILED)
        elif age > budget.max_age_s or execution.n_results >= budget.max_results:
            logger.info("execution %d: ends, aged %.0f s", execution.number, age)
            execution.end()
        elif now - self._busy_at > budget.idle_s:
            logger.info("execution %d: let go, idle for %.0f s", execution.number, now - self._busy_at)
            execution.end()
        return None

    def _kill(self, execution: Execution, why: str, outcome: Outcome) -> Outcome:
        logger.warning("execution %d: killed, it %s", execution.number, why)
        execution.kill()
        return outcome

    def _ended(self, execution: Execution, outcome: Outcome) -> None:
        self._metrics.ended_execution(outcome)
        execution.close()
        self._execution = None
        if outcome is Outcome.NO_CLUSTER:
            self._wait_for_cluster(execution)
            return
        self._away_since = None
        self._paused_at = self._clock()
        if outcome is Outcome.NEVER_WARM:
            self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise ExecutionFailed(self._failed_starts)
        if outcome is Outcome.FINISHED:
            logger.info("execution %d: finished", execution.number)
        else:
            logger.warning(
                "execution %d: %s; the next one starts as soon as anything waits", execution.number, outcome
            )

    def _wait_for_cluster(self, execution: Execution) -> None:
        now = self._clock()
        if self._away_since is None:
            self._away_since = execution.started_at
        if now - self._away_since > self._budget.cluster_s:
            raise ClusterUnreachable(now - self._away_since)
        self._due_at = now + PAUSE_S
        logger.warning(
            "execution %d: no Ray cluster answers; another one tries in %g s, until %.0f s are over",
            execution.number,
            PAUSE_S,
            self._away_since + self._budget.cluster_s - now,
        )
