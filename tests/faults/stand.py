"""Where the faults happen: three brokers, several Ray nodes, a topic full of seeds, and the account at the end.

A scenario is a block: `with stand.scenario("what is done") as scenario`. Inside it starts its gates and strikes;
when it is left, everything that was read must have ended exactly once, in order, both for a reader that followed
during the faults and for one after them. Modelled on the system test of Kafka's own transactions.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from pipeline.account import Report
from pipeline.follow import Follower
from pipeline.kafka import topics
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.reconcile import reconcile_topics
from pipeline.settings import Settings
from tests.fakes import stand_in_bundle
from tests.faults.attended import Attended
from tests.faults.paced import set_pace
from tests.faults.results import Row, record
from tests.faults.watch import Watch
from tests.integration.gates import Gate, Lab

BUSY_S = 20.0
"""How long the seeds of one round keep the replicas busy, while nothing is broken: longer than a fault lasts. What
is left after the last one goes as fast as it can."""
REPLICAS = 2
CLAIMS_PER_REPLICA = 4
CLAIM_S = 0.3
"""How long a replica works on one claim: what is killed is killed in the middle of many."""
PATIENCE_S = 600.0
"""For one recovery, and for the next verdict at the end."""
SHORT = ("gate.session_timeout_s=6", "publish.transaction_timeout_s=10")
"""Time-outs of every gate here: faults are to last beyond them, and nobody is to wait for minutes."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done. The record is made with 100,000 messages and three rounds; the code is the same."""

    messages: int
    rounds: int
    result: Path | None = None
    """Where the row goes; None keeps it to itself."""


class Scenario:
    """A topic of seeds, the readers of what comes out, and what was measured.

    Args:
        lab: Its topics, and gates on them.
        size: How much is done.
        watch: Keeps the time.
        in_flight: Offsets whose verdicts may come although something broke: they had been handed out.
    """

    def __init__(self, lab: Lab, size: Size, watch: Watch, in_flight: int) -> None:
        self.lab = lab
        self.size = size
        self.watch = watch
        self.in_flight = in_flight
        self.recoveries: list[float] = []
        """The longest time without a committed verdict in each round, from the fault on, in seconds."""
        self.report = Report()
        """The account after it, once it is over."""
        self._draw = random.Random(f"{lab.group}")

    @property
    def settings(self) -> Settings:
        """Of its gates."""
        return self.lab.settings()

    def gate(self, *own: str, **environment: str) -> Gate:
        """Start a gate, with settings, options or an environment of its own."""
        return self.lab.gate(*own, **environment)

    def attended(self, *own: str) -> Attended:
        """Start a gate that is started again whenever it ends."""
        return Attended(lambda: self.lab.gate(*own))

    def rounds(self) -> Iterator[int]:
        """The rounds, each begun under load: verdicts come, and the seeds have not run out."""
        for number in range(self.size.rounds):
            self.until_more(self.size.messages // 50)
            left = self.size.messages - self.watch.n_seen
            assert left > self.in_flight, f"{left} seeds are left for round {number + 1}: too few"
            time.sleep(self._draw.uniform(0.0, 1.0))
            yield number
        self.hurry()

    def hurry(self) -> None:
        """Let the seeds that are left go as fast as they can."""
        set_pace(Path(self.settings.bundle), 0.0)

    def strike(self, fault: Callable[[], object], *, in_flight: int | None = None) -> float:
        """Do it, and wait until more verdicts have come than were in flight, some written once it was done.

        Args:
            fault: What is done, and undone where it has to be.
            in_flight: How many may come although something broke; by default those of all that was handed out.

        Returns:
            The longest time without a verdict since it began, in seconds; noted as this round's recovery.
        """
        stale = self.in_flight if in_flight is None else in_flight
        began = time.time()
        fault()
        done = time.time()
        left = self.size.messages - self.watch.n_seen
        assert left > stale, "the seeds ran out during the fault: they have to last longer, see busy_s"
        until(lambda: self.watch.first_since(done), "a verdict is committed after the fault")
        self.until_more(stale)
        took = self.watch.longest_silence(began, time.time())
        self.recoveries.append(took)
        return took

    def until_more(self, n: int) -> None:
        """Wait until so many more verdicts are in sight."""
        wanted = self.watch.n_seen + n
        until(lambda: self.watch.n_seen >= wanted, f"{n} more verdicts are in sight")

    def until_all(self, n: int | None = None) -> None:
        """Wait until every seed has its verdict in sight, for as long as more of them come."""
        wanted = self.size.messages if n is None else n
        while (seen := self.watch.n_seen) < wanted:
            until(
                lambda seen=seen: self.watch.n_seen > seen,
                f"more than {seen} of {wanted} verdicts are in sight",
            )


class Stand:
    """The brokers and the nodes, and the scenarios on them.

    Args:
        brokers: Three of them.
        ray_address: The cluster.
        folder: For bundles and the gates' logs.
        size: How much is done.
    """

    def __init__(self, brokers: EmbeddedKafka, ray_address: str, folder: Path, size: Size) -> None:
        self.brokers = brokers
        self.size = size
        self._ray_address = ray_address
        self._folder = folder
        self._bundle = stand_in_bundle(folder).path

    @property
    def kafka(self) -> dict[str, str]:
        """Client settings."""
        return {"bootstrap_servers": self.brokers.bootstrap_servers}

    @contextmanager
    def scenario(
        self,
        name: str,
        *own: str,
        rounds: int | None = None,
        seeds: bool = True,
        busy_s: float = BUSY_S,
        per_s: float | None = None,
        replicas: int = 3,
        **configs: str,
    ) -> Iterator[Scenario]:
        """One scenario, from its seeds to its account and its row.

        Args:
            name: What is done, for the row.
            *own: Settings of its gates, over the common ones.
            rounds: How often; by default as the size has it.
            seeds: False where the scenario fills its topic itself.
            busy_s: How long the seeds of one round have to last while nothing is broken.
            per_s: What the pool can score in a second; by default what follows from that.
            replicas: Of the input topic; the outputs have three.
            **configs: Settings of the input topic, in Kafka's names with `_` for the dots.

        Yields:
            The scenario.
        """
        size = Size(self.size.messages, rounds or self.size.rounds, self.size.result)
        per_s = per_s or size.messages / (busy_s * size.rounds)
        set_pace(self._bundle, REPLICAS / per_s)
        configs = {key.replace("_", "."): value for key, value in configs.items()}
        lab = self._lab(_slug(name), per_s, own, replicas, configs)
        if seeds:
            lab.produce(size.messages)
        with ExitStack() as stack:
            follower = stack.enter_context(Follower(lab.settings(), every_s=2.0))
            watch = stack.enter_context(Watch(lab.settings()))
            scenario = Scenario(lab, size, watch, in_flight=round(CLAIMS_PER_REPLICA * CLAIM_S * per_s))
            yield scenario
            during = follower.report(to_end=True)
        after = reconcile_topics(lab.settings(), to_end=True)
        row = _row(name, scenario, (during, after))
        print(f"\n{row}", flush=True)
        for report in (during, after):
            assert report.closed, report.examples
        assert during == after
        scenario.report = after
        if size.result is not None:
            record(size.result, row)
        self._forget(lab)

    def _lab(
        self, name: str, per_s: float, own: Sequence[str], replicas: int, configs: dict[str, str]
    ) -> Lab:
        def topic(partitions: int, route: str) -> str:
            unique = f"{name}.{route}"
            kind = (replicas, configs) if route == "input" else (3, {})
            topics.create(self.kafka, [topics.NewTopic(unique, partitions, *kind)])
            return unique

        claim = max(10, round(CLAIM_S * per_s / REPLICAS))
        common = (
            *SHORT,
            "pool.preparer=tests.faults.paced:PoisonPreparer",
            "pool.scorer=tests.faults.paced:PacedScorer",
            "execution.start_s=600",
            f"pool.min_replicas={REPLICAS}",
            f"pool.max_replicas={REPLICAS}",
            f"claims.target_s={CLAIM_S}",
            f"claims.max_offsets={2 * claim}",
            f"claims.min_offsets={claim}",
            f"claims.in_flight_per_replica={CLAIMS_PER_REPLICA}",
        )
        folder = self._folder / name
        folder.mkdir()
        return Lab(self.brokers, self._bundle, topic, folder, self._ray_address, (*common, *own))

    def _forget(self, lab: Lab) -> None:
        """Delete the topics: a broker that is killed looks all its partitions over when it starts."""
        names = lab.settings().topics
        with suppress(KafkaError), KafkaAdminClient(**self.kafka) as admin:
            admin.delete_topics([names.input, *names.outputs.values()])


def until(reached: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait for something; fail if it does not come."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)


def _row(name: str, scenario: Scenario, reports: Sequence[Report]) -> Row:
    """The worse of the two accounts, with the times."""
    lost = max(report.missing for report in reports)
    repeated = max(report.repeated + report.unexpected for report in reports)
    out_of_order = max(report.out_of_order for report in reports)
    return Row.of(
        name,
        scenario.recoveries,
        rounds=scenario.size.rounds,
        messages=reports[0].candidates,
        lost=lost,
        repeated=repeated,
        out_of_order=out_of_order,
    )


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).lower().split())
