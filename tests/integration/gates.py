"""Real gates for tests: `sluice run` as a process, on a real broker and a real Ray."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
from kafka import KafkaProducer

from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.records import Headers
from pipeline.settings import Settings, load

REPOSITORY = Path(__file__).parents[2]
N_PARTITIONS = 3
PATIENCE_S = 300.0
"""For what takes seconds on a machine that is not slow."""


class Gate:
    """One `sluice run`. A context manager: leaving it kills what is left."""

    def __init__(
        self, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "run", *arguments],
                stdout=sink,
                stderr=sink,
                cwd=REPOSITORY,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | dict(environment or {}),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    @property
    def url(self) -> str:
        """Where its doors are."""
        self.until(lambda: "doors open at" in self.log, "opens its doors")
        return self.log.rpartition("doors open at ")[2].split()[0]

    def status(self) -> dict[str, Any]:
        """What `/status` says."""
        with urllib.request.urlopen(self.url + "/status", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def until(self, reached: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for something; fail with the log if it does not come, or if the gate ends before."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert self.process.poll() is None, f"the gate ended before it {what}:\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"no gate that {what} in {timeout_s} s:\n{self.log[-4000:]}"
            time.sleep(0.05)

    def until_assigned(self) -> None:
        """Wait until it has partitions."""
        self.until(lambda: self.status().get("partitions"), "has partitions")

    def until_settled(self, n_records: int) -> None:
        """Wait until this gate has committed so many messages since its start."""
        self.until(lambda: self.status()["records"] >= n_records, f"settles {n_records} messages")

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def until_drained(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL, to the keeper alone: what it had started has to notice."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(60)


class Lab:
    """Topics of its own, and the gates that work on them.

    `own` goes over the settings that all labs have.
    """

    def __init__(
        self,
        broker: EmbeddedKafka,
        bundle: Path,
        topic: Callable[..., str],
        folder: Path,
        ray_address: str,
        own: Sequence[str] = (),
    ) -> None:
        self.broker = broker
        self._folder = folder
        self._n_gates = 0
        routes = ("input", "prune", "review", "pass", "reject", "audit")
        names = {name: topic(N_PARTITIONS, name) for name in routes}
        self._input = names["input"]
        self.group = names["input"]
        self._overrides = [
            f"bundle={bundle}",
            f"kafka.bootstrap_servers={broker.bootstrap_servers}",
            *(f"topics.{name}={topic_name}" for name, topic_name in names.items()),
            f"gate.group={self.group}",
            "gate.session_timeout_s=6",
            "gate.enforce=true",
            "gate.max_prune_share=1",
            "http.port=0",
            f"ray.address={ray_address}",
            # Small claims: what is killed is killed in the middle of many.
            "claims.target_s=0.3",
            "claims.max_offsets=50",
            "claims.min_offsets=10",
            *own,
        ]

    def settings(self, *overrides: str) -> Settings:
        """The settings of this lab's gates."""
        return load(None, [*self._overrides, *overrides])

    def gate(self, *own: str, **environment: str) -> Gate:
        """Start a gate, with settings, options or an environment of its own."""
        self._n_gates += 1
        options = [one for one in own if one.startswith("--")]
        overrides = [*self._overrides, *(one for one in own if one not in options)]
        arguments = [part for override in overrides for part in ("--set", override)]
        return Gate([*arguments, *options], self._folder / f"gate-{self._n_gates}.log", environment)

    def produce(self, n: int, *, first: int = 0) -> None:
        """Send candidates, spread over the partitions."""
        self.send(self.candidate(i, document=f"boot no. {i}") for i in range(first, first + n))

    @staticmethod
    def candidate(i: int, *, document: str) -> bytes:
        """One candidate's message."""
        return orjson.dumps({"candidate_id": f"c{i}", "query": f"red shoes {i % 7}", "document": document})

    def send(self, values: Iterable[bytes], *, headers: Headers = ()) -> None:
        """Send messages as they are, spread over the partitions."""
        with KafkaProducer(bootstrap_servers=self.broker.bootstrap_servers) as producer:
            futures = [
                producer.send(self._input, value, headers=list(headers), partition=i % N_PARTITIONS)
                for i, value in enumerate(values)
            ]
            producer.flush()
            assert all(future.succeeded() for future in futures)
