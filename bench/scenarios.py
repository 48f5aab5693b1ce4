"""Scenarios of a benchmark, which run by name on one broker, and what they find: shown, and recorded.

A scenario is a function that measures something on a `Bench`. What is recorded of scenarios that do not run stays.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.learn.train import build_demo_bundle
from bench import machine
from pipeline.kafka import topics
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.kafka.jars import cache_folder
from pipeline.settings import Settings, load

PARTITIONS = 4
"""Of each topic."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What the scenarios of one run share."""

    bootstrap_servers: str
    """The broker."""
    bundle: Path
    """What gates score with."""
    scale: float
    """Multiplies the number of rows; 1 is the recorded run."""

    def n(self, rows: float) -> int:
        """So many rows, scaled; at least one."""
        return max(1, round(rows * self.scale))

    def settings(self, name: str, *overrides: str) -> Settings:
        """The settings of one scenario, with topics of its own, created here with `PARTITIONS` partitions each."""
        found = load(None, [*self._own(name), *overrides])
        allow = {"max.message.bytes": str(8 << 20)}
        wanted = [found.topics.input, *found.topics.outputs.values()]
        topics.create(found.kafka, [topics.NewTopic(topic, PARTITIONS, 1, allow) for topic in wanted])
        return found

    def _own(self, name: str) -> list[str]:
        return [
            f"bundle={self.bundle}",
            f"kafka.bootstrap_servers={self.bootstrap_servers}",
            *(f"topics.{route}={name}.{route}" for route in ("input", "prune", "review", "pass", "reject")),
            f"gate.group={name}",
            "gate.enforce=true",
            "gate.max_prune_share=1",
            "ray.num_cpus=4",
            "http.port=0",
        ]


Figures = dict[str, float]
Scenario = Callable[[Bench], Figures]


def pool(n: int) -> tuple[str, ...]:
    """The settings of a pool that has so many replicas from the start."""
    return tuple(f"pool.{bound}_replicas={n}" for bound in ("min", "max"))


def run(
    scenarios: Sequence[Scenario],
    result: Path,
    *,
    about: str | None,
    aims: Mapping[str, str],
    derived: Callable[[Figures], Figures] = lambda _: {},
) -> None:
    """Run the scenarios that the command line names, or all, on one broker; show their figures and record them.

    Args:
        scenarios: By the names of their functions, in this order.
        result: File of the figures.
        about: What is measured, for `--help`.
        aims: What is aimed at, by figure.
        derived: More figures, out of those that were measured.
    """
    by_name = {scenario.__name__: scenario for scenario in scenarios}
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("scenario", nargs="*", help=f"any of {', '.join(by_name)}; all by default")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="multiplies the rows; below 1 nothing is recorded"
    )
    parser.add_argument("--bundle", type=Path, help="instead of the demo's; then nothing is recorded")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenario) - set(by_name):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(by_name)}")
    bundle = arguments.bundle or build_demo_bundle(cache_folder() / "bundles")
    figures: Figures = {}
    with EmbeddedKafka() as kafka:
        bench = Bench(kafka.bootstrap_servers, bundle, arguments.scale)
        for name in arguments.scenario or by_name:
            print(f"{name} …", file=sys.stderr, flush=True)
            figures |= by_name[name](bench)
    figures |= derived(figures)
    show(figures, aims)
    if arguments.scale >= 1 and arguments.bundle is None:
        machine.record(result, figures)


def show(figures: Mapping[str, float], aims: Mapping[str, str]) -> None:
    """Print figures, each with what is aimed at."""
    table = Table("figure", "measured", "aim")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.3f}", aims.get(name, ""))
    Console().print(table)
