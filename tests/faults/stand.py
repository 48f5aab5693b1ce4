"""Where the faults happen: three brokers, several Ray nodes, a topic full of seeds, and the account at the end.

A scenario is a block: `with stand.scenario("what is done") as scenario`. Inside it starts its gates and strikes;
when it is left, everything that was read must have ended exactly once, in order, both for a reader that followed
during the faults and for one after them. Modelled on the system test of Kafka's own transactions.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.account import Report
from pipeline.follow import Follower
from pipeline.kafka import topics
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.reconcile import reconcile_topics
from pipeline.settings import Settings
from tests.fakes import stand_in_bundle
from tests.faults.attended import Attended
from tests.faults.paced import pace_file
from tests.faults.results import Row, record
from tests.faults.watch import Watch
from tests.integration.gates import Gate, Lab

BUSY_S = 6.0
"""How long the seeds of one round keep the replicas busy, while nothing is broken."""
REPLICAS = 2
PATIENCE_S = 600.0
"""For one recovery, and for the rest of the seeds at the end."""
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
    """

    def __init__(self, lab: Lab, size: Size, watch: Watch) -> None:
        self.lab = lab
        self.size = size
        self.watch = watch
        self.recoveries: list[float] = []
        """The longest time without a committed verdict in each round, from the fault on, in seconds."""
        self._draw = random.Random(f"{lab.group}")

    @property
    def settings(self) -> Settings:
        """Of its gates."""
        return self.lab.settings()

    def gate(self, *own: str) -> Gate:
        """Start a gate, with settings or options of its own."""
        return self.lab.gate(*own)

    def attended(self, *own: str) -> Attended:
        """Start a gate that is started again whenever it ends."""
        return Attended(lambda: self.lab.gate(*own))

    def rounds(self) -> Iterator[int]:
        """The rounds, each begun under load: verdicts come, and the seeds have not run out."""
        for number in range(self.size.rounds):
            self.until_more(self.size.messages // 50)
            left = self.size.messages - self.watch.n_seen
            assert left > self.size.messages // 50, f"{left} seeds are left for round {number + 1}: too few"
            time.sleep(self._draw.uniform(0.0, 1.0))
            yield number

    def strike(self, fault: Callable[[], object]) -> float:
        """Do it, and wait for the next verdict that is written once it is done.

        Args:
            fault: What is done, and undone where it has to be.

        Returns:
            The longest time without a verdict since it began, in seconds; noted as this round's recovery.
        """
        began = time.time()
        fault()
        done = time.time()
        left = self.size.messages - self.watch.n_seen
        assert left > 0, "the seeds ran out during the fault: they have to last longer, see busy_s"
        until(lambda: self.watch.first_since(done), "a verdict is committed after the fault")
        took = self.watch.longest_silence(began, self.watch.first_since(done) or done)
        self.recoveries.append(took)
        return took

    def until_more(self, n: int) -> None:
        """Wait until so many more verdicts are in sight."""
        wanted = self.watch.n_seen + n
        until(lambda: self.watch.n_seen >= wanted, f"{n} more verdicts are in sight")

    def until_all(self, n: int | None = None) -> None:
        """Wait until every seed has its verdict in sight."""
        wanted = self.size.messages if n is None else n
        until(lambda: self.watch.n_seen >= wanted, f"all {wanted} verdicts are in sight")


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
            **configs: Settings of the input topic, in Kafka's names with `_` for the dots.

        Yields:
            The scenario.
        """
        size = Size(self.size.messages, rounds or self.size.rounds, self.size.result)
        per_s = per_s or size.messages / (busy_s * size.rounds)
        pace_file(self._bundle).write_text(str(REPLICAS / per_s))
        lab = self._lab(
            _slug(name), size, own, {key.replace("_", "."): value for key, value in configs.items()}
        )
        if seeds:
            lab.produce(size.messages)
        with ExitStack() as stack:
            follower = stack.enter_context(Follower(lab.settings(), every_s=2.0))
            watch = stack.enter_context(Watch(lab.settings()))
            scenario = Scenario(lab, size, watch)
            yield scenario
            during = follower.report(to_end=True)
        after = reconcile_topics(lab.settings(), to_end=True)
        row = _row(name, scenario, (during, after))
        print(f"\n{row}", flush=True)
        for report in (during, after):
            assert report.closed, report.examples
        assert during == after
        if size.result is not None:
            record(size.result, row)

    def _lab(self, name: str, size: Size, own: Sequence[str], configs: dict[str, str]) -> Lab:
        def topic(partitions: int, route: str) -> str:
            unique = f"{name}.{route}"
            topics.create(
                self.kafka, [topics.NewTopic(unique, partitions, 3, configs if route == "input" else {})]
            )
            return unique

        claim = max(20, size.messages // 200)
        common = (
            *SHORT,
            "pool.preparer=tests.faults.paced:PoisonPreparer",
            "pool.scorer=tests.faults.paced:PacedScorer",
            "execution.start_s=600",
            f"pool.min_replicas={REPLICAS}",
            f"pool.max_replicas={REPLICAS}",
            f"claims.max_offsets={claim}",
            f"claims.min_offsets={claim // 2}",
        )
        folder = self._folder / name
        folder.mkdir()
        return Lab(self.brokers, self._bundle, topic, folder, self._ray_address, (*common, *own))


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
