"""CPU seconds that gates have spent, by part: as the kernel counts them, for every process below this one.

The parts are `keeper`, `runner`, `prepare` and `score` (the actors of the two stages), `ray` (everything else that
Ray runs) and `broker`. A process that ends between two looks is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from bench import rig

PARTS = ("keeper", "runner", "prepare", "score", "ray", "broker")

Look = Mapping[int, tuple[str, float]]
"""By process id: the part, and its seconds so far."""


def look(gates: Sequence[rig.Gate]) -> Look:
    """What has been spent so far; every replica has answered within the last minute."""
    parts: dict[int, str] = {}
    for gate in gates:
        status = gate.status() or {}
        parts |= {gate.keeper: "keeper", status["runner"]: "runner"}
        parts |= {int(replica.rpartition(":")[2]): "score" for replica in status["replicas"]}
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            part = parts.get(process.pid) or _part(process)
            found[process.pid] = (part, times.user + times.system)
    return found


def between(before: Look, after: Look) -> dict[str, float]:
    """What each part spent between two looks."""
    spent = dict.fromkeys(PARTS, 0.0)
    for pid, (part, seconds) in after.items():
        spent[part] += seconds - before.get(pid, (part, 0.0))[1]
    return spent


def _part(process: psutil.Process) -> str:
    if process.name() == "java":
        return "broker"
    # What Ray Data calls its actors; those of Score are known by their answers.
    title = " ".join(process.cmdline()[:1])
    return "prepare" if title.startswith("ray::MapWorker") else "ray"
