"""The whole product in one run, on real parts: a bundle, a broker, a catalogue, a gate, and the account of it.

Promises that everything it starts is stopped when it returns or raises, and that nothing in its report is assumed:
what came out is read back as a read_committed reader does. Precision is measured against the generator's known
probabilities, so that the noise in its labels does not count against the model.
"""

from __future__ import annotations

import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.learn.catalogue import Item
from pipeline import generated, produce
from pipeline.account import Report
from pipeline.candidates import Batching
from pipeline.doors import ask
from pipeline.errors import GateFailed
from pipeline.kafka import topics
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.reconcile import read_verdicts, reconcile_topics
from pipeline.records import Route
from pipeline.settings import Settings, load

SEED = 2026
PARTITIONS = 4
BATCHED = Batching(share=0.2, rows=16)
MALFORMED = 0.01
LOOK_EVERY_S = 0.1
PATIENCE_S = 600.0
N_EXAMPLES = 3

OnProgress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Example:
    """A pruned candidate."""

    candidate_id: str
    query: str
    document: str
    score: float
    p_severe: float
    """The generator's known probability that it is a severe violation."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the run showed."""

    report: Report
    pairs_per_s: float
    """Candidates per second, from the first committed verdict to the last."""
    prune_precision: float | None
    """Mean known probability of severity among what was pruned; None if nothing was."""
    examples: tuple[Example, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        named = self.report.as_dict()
        wanted = ("candidates", "pass", "review", "prune", "rejected", "missing", "repeated")
        return {
            **{name: named[name] for name in wanted},
            "pairs_per_s": round(self.pairs_per_s, 1),
            "prune_precision": None if self.prune_precision is None else round(self.prune_precision, 4),
        }


def run(bundle: Path, n: int, *, on_progress: OnProgress, log: Path) -> Outcome:
    """Produce a catalogue, run a gate over it until nothing is left, and read back what came out. Blocks.

    Args:
        bundle: The bundle that scores.
        n: Candidates.
        on_progress: Told how it goes.
        log: Where the gate writes.

    Returns:
        What the run showed.

    Raises:
        GateFailed: The gate ended with an error, or did not end.
        FatalError: Broker or bundle cannot be used.
    """
    on_progress("starting Kafka", 0, 1)
    with EmbeddedKafka() as kafka:
        settings = _settings(bundle, kafka.bootstrap_servers)
        names = [settings.topics.input, *settings.topics.outputs.values()]
        topics.create(settings.kafka, [topics.NewTopic(name, PARTITIONS) for name in names])
        with _gate(settings, log) as gate:  # its pool warms up while the catalogue is produced
            messages = generated.catalogue_messages(n, seed=SEED, batching=BATCHED, malformed=MALFORMED)
            n_messages = produce.send(settings, messages).messages
            pairs_per_s = _watch(gate, settings, n_messages, on_progress)
        on_progress("reading back", 0, 1)
        report = reconcile_topics(settings, to_end=True)
        pruned = list(read_verdicts(settings, Route.PRUNE))
    items = {item.candidate_id: item for item in generated.catalogue(n, seed=SEED)}
    truths = [items[verdict["candidate_id"]].p_severe for verdict in pruned]
    examples = [_example(verdict, items[verdict["candidate_id"]]) for verdict in pruned[:N_EXAMPLES]]
    return Outcome(report, pairs_per_s, statistics.fmean(truths) if truths else None, tuple(examples))


def _settings(bundle: Path, bootstrap_servers: str) -> Settings:
    return load(
        None,
        [
            f"bundle={bundle}",
            f"kafka.bootstrap_servers={bootstrap_servers}",
            "gate.group=sluice-demo",
            "gate.enforce=true",
            "gate.max_prune_share=0.6",  # the catalogue holds far more violations than a real feed
            "pool.max_replicas=2",  # on a CPU two replicas of one thread beat one of two
            "ray.num_cpus=4",
            f"http.port={_free_port()}",
        ],
    )


@contextmanager
def _gate(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`sluice run`, as a user would start it; ended by SIGTERM when the block is left."""
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as folder, log.open("wb") as sink:
        path = Path(folder) / "settings.yaml"
        path.write_text(settings.model_dump_json(by_alias=True))  # JSON is YAML
        command = [sys.executable, "-m", "pipeline.cli", "run", "-c", str(path)]
        gate = subprocess.Popen(command, stdout=sink, stderr=sink)
        try:
            yield gate
        finally:
            gate.send_signal(signal.SIGTERM)
            gate.wait(settings.gate.shutdown_grace_s + 30)


def _watch(
    gate: subprocess.Popen[bytes], settings: Settings, n_messages: int, on_progress: OnProgress
) -> float:
    """Look at the gate until it has settled so many messages; candidates per second, first commit to last."""
    first: tuple[float, int] | None = None
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and gate.poll() is None:
        status = ask(settings.http.host, settings.http.port)
        settled = status["records"] if status else 0
        on_progress("scoring" if settled else "warming up the pool", settled, n_messages)
        if status and settled:
            now, scored = (
                time.monotonic(),
                sum(status["counts"][name] for name in ("prune", "review", "pass_")),
            )
            first = first or (now, scored)
            if settled >= n_messages:
                return (scored - first[1]) / (now - first[0]) if now > first[0] else 0.0
        time.sleep(LOOK_EVERY_S)
    raise GateFailed(gate.poll(), PATIENCE_S)


def _example(verdict: Mapping[str, Any], item: Item) -> Example:
    return Example(
        item.candidate_id,
        " ".join(item.query.values()),
        " ".join(item.document.values()),
        verdict["score"],
        item.p_severe,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
