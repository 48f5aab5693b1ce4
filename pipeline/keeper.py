"""The keeper: the gate's main process, all that touches the consumer group and the output topics.

Its loop is five verbs: join, plan, collect, publish, tend. Promises: what is committed was complete, in order
and of the current assignment; an error of the broker's ends the session and never the runner; what cannot be
rebuilt within its deadline ends the process, and whoever runs the gate starts it again. It imports no engine
and no model: the runner is a process, reached through `supervisor`.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from actors.bundle import Bundle
from pipeline import link
from pipeline.arrivals import Arrivals
from pipeline.brake import Brake
from pipeline.bundles import pin
from pipeline.doors import Doors
from pipeline.errors import BrokerUnreachable, OffsetsLost, TransientError
from pipeline.execution import Execution, Outcome
from pipeline.kafka.member import Assignment
from pipeline.ledger import Ledger
from pipeline.metrics import Metrics
from pipeline.note import Note
from pipeline.planner import Bounds, Planner
from pipeline.publisher import Destination, Publisher
from pipeline.reach import Reach
from pipeline.records import Completed, Counts, Mode, Route, TopicPartition
from pipeline.session import Session, longest_turn_s
from pipeline.settings import Settings
from pipeline.supervisor import Budget, Supervisor
from pipeline.view import View

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.05
"""How often to ask how far the partitions reach. One round trip; it bounds the latency at a trickle."""
LOOK_WHEN_FULL_EVERY_S = 0.5
"""The same while nothing more may be handed out: then the answer is for people. On two busy cores the looks
took 5% of one from the replica."""
TURN_S = 0.05
"""How long one turn waits; what comes back ends the wait."""
_N_NAMED = 10
"""Partitions or claims that a log line names."""


class Keeper:
    """One gate.

    Args:
        settings: Everything it needs to know.
        destinations: Where each route goes, see `startup`.
        bundle: What its replicas score with.
        until_drained: Stop once everything that its partitions hold is committed.
        look_up: Looks where each route goes now, for partitions that were added since; None leaves it as it was.
        open_session: Builds a session; None builds it on the broker of the settings.
        start: Starts an execution, given its number; None starts a runner.
    """

    def __init__(
        self,
        settings: Settings,
        destinations: Mapping[Route, Destination],
        bundle: Bundle,
        *,
        until_drained: bool = False,
        look_up: Callable[[], Mapping[Route, Destination]] | None = None,
        open_session: Callable[[], Session] | None = None,
        start: Callable[[int], Execution] | None = None,
    ) -> None:
        self._settings = settings
        # Its publishers hold it, too: what is looked up anew holds for them from then on.
        self._destinations = dict(destinations)
        self._look_up = look_up
        self._open_session = open_session or partial(Session.open, settings, self._destinations)
        self._bundle = bundle
        self._until_drained = until_drained
        gate = settings.gate
        self._metrics = Metrics()
        self._view = View(self._metrics, stands_still_s=longest_turn_s(settings))
        self._planner = Planner(_bounds(settings))
        self._arrivals = Arrivals(settings.claims.drain_s)
        # A gate that only observes trips nothing, or its day one would end with the brake on.
        max_share = gate.max_prune_share if gate.enforce else 1.0
        self._brake = Brake(max_share=max_share, window=gate.brake_window)
        # An execution that found another bundle at the same place would score with it, or with parts of both.
        pinned = settings.model_copy(update={"bundle": pin(settings.bundle, bundle.digest)})
        start = start or partial(Execution, settings=pinned)
        self._supervisor = Supervisor(_budget(settings), start, self._metrics)
        self._assignment: Assignment | None = None
        self._ledger = Ledger(0, {})
        self._reach = Reach()
        self._coming = 0
        self._looked_at = self._read_again_at = time.monotonic()
        self._ready: list[Completed] = []
        self._ready_since = 0.0
        self._totals = Counts()
        self._troubled_since: float | None = None
        self._left_at = "no position"
        self._stop_by: float | None = None

    def run(self) -> None:
        """Run until stopped. Blocks.

        Raises:
            FatalError: Going on would break a promise; its `exit_code` says which kind.
            TransientError: The broker's trouble outlasted `publish.rebuild_deadline_s`.
        """
        http = self._settings.http
        with Doors(http.host, http.port, self._view) as doors:
            logger.info("doors open at %s", doors.url)
            try:
                self._supervisor.tend(wanted=True, n_out=0)  # the pool warms up while the group is joined
                while not self._run_session():
                    # The library leaves sockets of connections that broke to the collector, which comes by seldom
                    # here (see `commands.run`): some ten for each broker that was killed.
                    gc.collect()
            finally:
                self._supervisor.close()

    def stop(self) -> None:
        """Finish what is in flight, commit it, leave the group. Returns at once; safe in a signal handler."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self._settings.gate.shutdown_grace_s

    def _run_session(self) -> bool:
        """One session, from its start to its end. True where the gate is done."""
        opened_at: float | None = None
        try:
            with self._open_session() as session:
                opened_at = time.monotonic()
                self._metrics.began_session()
                while not self._done():
                    self._turn(session)
                self._publish(session, at_once=True)
                session.leaving = True
        except (TransientError, BrokerUnreachable) as trouble:
            if self._assignment is not None:  # otherwise it is where the session before this one left it
                self._left_at = _named(f"{source}@{at}" for source, at in self._ledger.committed.items())
            self._begin({}, None)
            if self._stop_by is None:
                self._bear(trouble, opened_at)
                return False
            logger.warning("stopped in trouble; the next gate goes on from %s: %s", self._left_at, trouble)
        logger.info("stopped: %s", ", ".join(f"{name} {n}" for name, n in self._totals._asdict().items()))
        return True

    def _bear(self, trouble: TransientError | BrokerUnreachable, opened_at: float | None) -> None:
        """Wait for another try; raise the trouble once there was no commit for as long as the settings allow.

        Building a session may succeed each time, and its first transaction fail each time: so it is the commit
        that ends the trouble, or a session that held for as long without one.
        """
        now, patience_s = time.monotonic(), self._settings.publish.rebuild_deadline_s
        held = opened_at is not None and now - opened_at > patience_s
        if self._troubled_since is None or held:
            self._troubled_since = now
        if now - self._troubled_since > patience_s:
            raise trouble
        logger.warning("the session is over at %s, another one is built: %s", self._left_at, trouble)
        time.sleep(trouble.retry_after_s if isinstance(trouble, TransientError) else 1.0)
        self._view.turned()

    def _turn(self, session: Session) -> None:
        self._view.turned()
        self._join(session)
        self._plan(session)
        self._collect()
        self._publish(session)
        self._tend()

    # --- the five verbs ---------------------------------------------------------------------------------

    def _join(self, session: Session) -> None:
        """Take part in the group; new books for a new assignment."""
        assignment = session.member.poll(0.0)
        if assignment is None:
            return
        self._check_run(assignment)
        if assignment.fresh:
            # Otherwise a crash before the first commit would begin at another end of a topic that has grown.
            session.publisher.commit_positions(
                assignment.fresh, assignment, note=str(Note(run=self._settings.gate.run))
            )
        self._make_room(assignment)
        self._take_over_brake(assignment)
        self._begin(assignment.positions, assignment)

    def _plan(self, session: Session) -> None:
        """Look how far the partitions reach, and hand out what may be."""
        now = time.monotonic()
        full = not self._planner.has_room(self._ledger)
        if now - self._looked_at >= (LOOK_WHEN_FULL_EVERY_S if full else LOOK_EVERY_S):
            self._looked_at = now
            self._reach.look(session.member.end_offsets(), self._ledger.committed)
            self._coming = self._arrivals.look(self._reach.readable)
            self._record()
        # In the middle of a rebalance it waits: what is to be lifted is read with the next assignment.
        if self._assignment is not None and not self._assignment.revoked and self._view.take_lift():
            self._lift()
        if not self._supervisor.takes_claims or now < self._read_again_at:
            return
        reach = self._reach
        ends = reach.readable if self._stop_by is None else {}
        claims = self._planner.plan(
            self._ledger, ends, self._mode, coming=self._coming, unreadable=reach.without_leader
        )
        self._supervisor.hand(claims)

    def _collect(self) -> None:
        """Book what came back; release what is complete."""
        for frame in self._supervisor.take(self._until_due()):
            self._book(frame)
        if not self._ready:
            self._ready_since = time.monotonic()
        room = self._settings.publish.max_messages - self._n_ready()
        released = self._ledger.release(max_messages=room) if room > 0 else []
        for completed in released:
            if self._brake.judge(completed.counts):
                logger.error(
                    "%s: the brake is on: %.1f %% of the last %d candidates would be pruned, over the %.1f %% "
                    "allowed; prune goes to review until it is lifted with POST /brake/lift",
                    completed.claim,
                    100 * (self._brake.share or 0),
                    self._settings.gate.brake_window,
                    100 * self._settings.gate.max_prune_share,
                )
                # What has not been committed is cut again, so that nothing is pruned from here on.
                self._begin_again()
                return
        self._ready += released

    def _until_due(self) -> float:
        """How long to wait for more: a turn, but not beyond the moment when what is ready is due. Seconds."""
        publish = self._settings.publish
        if not self._ready:
            return TURN_S
        if self._n_ready() >= publish.max_messages:
            return 0.0
        return min(TURN_S, max(0.0, self._ready_since + publish.linger_s - time.monotonic()))

    def _n_ready(self) -> int:
        return sum(completed.counts.records for completed in self._ready)

    def _publish(self, session: Session, *, at_once: bool = False) -> None:
        """Commit what is ready, once it has waited or is enough; and a change of the brake, at once."""
        due = bool(self._ready) and (at_once or self._is_due())
        unnoted = self._brake.unnoted
        if not (due or unnoted) or self._assignment is None:
            return
        if session.member.revoked:
            return  # what is ready is of an assignment that is over; the next turn brings the new one
        if unnoted:
            positions = {source: self._ledger.committed_to(source) for source in unnoted}
            session.publisher.commit_positions(positions, self._assignment, note=self._note)
            self._brake.keep_note()
        if due:
            self._commit(session.publisher, self._assignment)

    def _is_due(self) -> bool:
        publish = self._settings.publish
        waited = time.monotonic() - self._ready_since
        return self._n_ready() >= publish.max_messages or waited >= publish.linger_s

    def _commit(self, publisher: Publisher, assignment: Assignment) -> None:
        batch, self._ready = self._ready, []
        began = time.monotonic()
        positions = publisher.publish(batch, assignment, note=self._note)
        self._ledger.commit(positions)
        self._brake.keep()
        self._reach.commits()
        self._troubled_since = None
        self._metrics.committed(batch, time.monotonic() - began)
        for completed in batch:
            self._totals += completed.counts

    def _tend(self) -> None:
        """Look after the execution, and hand its claims out again when it ended."""
        wanted = self._reach.behind(self._ledger.cut) > 0 or self._ledger.in_flight() > 0
        overtaken = self._planner.overtaken(self._ledger)
        outcome = self._supervisor.tend(wanted=wanted, n_out=self._ledger.n_out(), overtaken=overtaken)
        if outcome is None:
            return
        if held := self._ledger.unfinished():
            how = "one at a time" if outcome is Outcome.FAILED else "as they were"
            logger.warning("handed out again, %s, to the next execution: %s", how, _named(held))
        if outcome is Outcome.FAILED:
            self._planner.suspect(self._ledger)
        else:
            self._planner.hand_again(self._ledger)

    # --- what they share --------------------------------------------------------------------------------

    @property
    def _mode(self) -> Mode:
        if not self._settings.gate.enforce:
            return Mode.OBSERVE
        return Mode.BRAKED if self._brake.on else Mode.ENFORCE

    def _begin(self, positions: Mapping[TopicPartition, int], assignment: Assignment | None) -> None:
        """Open new books: what is out, or back and not committed, counts no more."""
        self._assignment = assignment
        self._ledger = Ledger(self._ledger.assignment + 1, positions)
        self._planner.forget()
        self._brake.forget()
        self._ready = []
        self._reach.forget_ends()
        self._metrics.began_assignment(self._ledger.assignment, len(positions))
        self._record()

    def _begin_again(self) -> None:
        """New books for the same assignment, from what is committed."""
        self._begin(self._ledger.committed, self._assignment)

    @property
    def _note(self) -> str:
        return str(Note(self._brake.on, self._settings.gate.run))

    def _check_run(self, assignment: Assignment) -> None:
        """After a replay was ordered, verdicts under the old run number would count as repeats."""
        run = self._settings.gate.run
        for source, text in assignment.notes.items():
            if (noted := Note.read(text).run) > run:
                problem = (
                    f"is {run}, and {source}@{assignment.positions[source]} is of run {noted}: set {noted}"
                )
                raise self._settings.refuse("gate.run", problem)

    def _make_room(self, assignment: Assignment) -> None:
        """Give partitions that were added to the input those that were added to the outputs.

        Until it started again, this gate went on sharing those that there had been, and one that started later did
        not: verdicts of one input partition were in two output partitions, in no order.
        """
        last = max((source.partition for source in assignment.positions), default=-1)
        if self._look_up is None or all(last < place.n_partitions for place in self._destinations.values()):
            return
        self._destinations.update(self._look_up())
        for route, place in self._destinations.items():
            if last >= place.n_partitions and not self._settings.topics.fold_partitions:
                logger.error(
                    "%s has %d partitions, fewer than the input: verdicts of added ones go to those of others; "
                    "add partitions to topics.%s, then start the gate again",
                    place.topic,
                    place.n_partitions,
                    route,
                )

    def _take_over_brake(self, assignment: Assignment) -> None:
        brake, settled = self._brake, not assignment.revoked
        found = brake.take_over(assignment.positions, assignment.notes, settled=settled)
        braked = ", ".join(map(str, found))
        if braked and self._settings.gate.enforce:
            logger.error(
                "the brake is on, as it was where %s was committed last; prune goes to review until it is "
                "lifted with POST /brake/lift",
                braked,
            )
        elif braked:
            logger.warning(
                "the brake was on where %s was committed last; it holds once gate.enforce is true, unless it "
                "is lifted with POST /brake/lift",
                braked,
            )
        elif brake.on and brake.unnoted:
            logger.warning("the brake is on here: it holds for %s too", ", ".join(map(str, brake.unnoted)))

    def _lift(self) -> None:
        braked = self._mode is Mode.BRAKED
        self._brake.lift()
        logger.warning("the brake is lifted for %s: prune is pruned again", _named(self._ledger.sources))
        if braked:
            self._begin_again()

    def _book(self, frame: link.Frame) -> None:
        match frame:
            case Completed():
                if not self._ledger.accept(frame):
                    self._metrics.dropped()
                    return
                if frame.lost:
                    self._lost(frame)
                self._planner.observe(frame)
                self._metrics.came_back(frame)
            case link.Unread(claim, because) if claim.assignment == self._ledger.assignment:
                logger.warning("%s: unread, handed out again: %s", claim, because)
                self._planner.hand_one_again(self._ledger, claim)
                self._read_again_at = time.monotonic() + 1.0
            case link.Halted(claim, error) if claim.assignment == self._ledger.assignment:
                raise error

    def _lost(self, completed: Completed) -> None:
        claim = completed.claim
        if self._settings.gate.on_lost == "stop":
            raise OffsetsLost(*claim.source, wanted=claim.start, earliest=claim.start + completed.lost)
        logger.error(
            "%s: retention deleted %d offsets unread; they are counted, and passed over",
            claim,
            completed.lost,
        )

    def _done(self) -> bool:
        if self._stop_by is not None:
            return self._ledger.in_flight() == 0 or time.monotonic() > self._stop_by
        settled = self._assignment is not None and not self._assignment.revoked
        # Where nothing is owned there is nothing to look at: the rest is for the others of the group.
        looked = settled and self._reach.ends.keys() == set(self._ledger.sources)
        idle = self._reach.behind(self._ledger.cut) == 0 and self._ledger.in_flight() == 0
        return self._until_drained and looked and idle

    def _record(self) -> None:
        """Show where the gate stands."""
        ledger, reach, settings = self._ledger, self._reach, self._settings
        positions, readable = ledger.committed, reach.readable
        self._metrics.set_lag(positions, reach.ends)
        self._metrics.set_in_flight(ledger.in_flight())
        self._metrics.set_mode(self._mode, self._brake.share)
        self._view.show(
            {
                "group": settings.gate.group,
                "instance": settings.gate.instance,
                "run": settings.gate.run,
                "mode": self._mode,
                "bundle": {"path": str(self._bundle.path), "digest": self._bundle.digest},
                "assignment": ledger.assignment,
                "execution": self._supervisor.number,
                "runner": self._supervisor.runner,
                "replicas": self._metrics.replicas,
                "not_ready": self._not_ready(),
                "in_flight": ledger.in_flight(),
                "records": self._totals.records,
                "counts": self._totals._asdict(),
                "prune_share": self._brake.share,
                "lag": reach.behind(positions),
                "partitions": {
                    str(source): {"committed": at, "end": readable.get(source)}
                    for source, at in positions.items()
                },
            }
        )

    def _not_ready(self) -> str | None:
        if not self._ledger.sources:
            return "no partitions are assigned"
        if self._supervisor.warm:
            return None
        away = "; no Ray cluster answered at the latest try" if self._supervisor.without_cluster else ""
        return f"the pool is not warm{away}"


def _named(things: Iterable[object]) -> str:
    """Things for a log line: not more than it can hold."""
    names = [str(thing) for thing in things]
    more = [f"and {len(names) - _N_NAMED} more"] if len(names) > _N_NAMED else []
    return ", ".join([*names[:_N_NAMED], *more]) or "nothing"


def _bounds(settings: Settings) -> Bounds:
    claims = settings.claims
    return Bounds(
        max_offsets=claims.max_offsets,
        min_offsets=claims.min_offsets,
        target_s=claims.target_s,
        claims_per_replica=claims.in_flight_per_replica,
        min_replicas=settings.pool.min_replicas,
        max_replicas=settings.pool.max_replicas,
        drain_s=claims.drain_s,
        max_bytes=claims.in_flight_bytes,
    )


def _budget(settings: Settings) -> Budget:
    execution, gate = settings.execution, settings.gate
    return Budget(
        start_s=execution.start_s,
        cluster_s=execution.cluster_deadline_s,
        max_age_s=execution.max_age_s,
        max_results=execution.max_blocks,
        hang_s=execution.hang_s,
        end_s=gate.shutdown_grace_s,
        idle_s=gate.idle_after_s,
    )
