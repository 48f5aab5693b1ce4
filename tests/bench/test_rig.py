from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench import rig

REPOSITORY = Path(__file__).parents[2]
BENCH = """
import sys
from bench import rig
command = rig.sluice(*sys.argv[1:], stdout=sys.stderr.buffer, stderr=sys.stderr.buffer)
print(command.pid, flush=True)
sys.stdin.read()
"""


def until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline, f"no command that {what}"
        time.sleep(0.01)


def has_ended(process: psutil.Process) -> bool:
    """Whether it has; it may also go between the two questions."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def sample(at: float, scored: int) -> rig.Sample:
    return rig.Sample(at, scored, keeper_mb=10.0, runner_mb=20.0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is asked for on Linux alone")
def test_a_command_dies_with_a_bench_that_is_killed() -> None:
    """The keeper went on, and held its group and its Ray."""
    waits = ["run", "--set", "bundle=b", "--set", "kafka.bootstrap_servers=127.0.0.1:1"]
    with subprocess.Popen(
        [sys.executable, "-c", BENCH, *waits, "--set", "kafka.bootstrap_timeout_ms=60000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    ) as bench:
        assert bench.stdout is not None
        command = psutil.Process(int(bench.stdout.readline()))
        until(lambda: command.cmdline()[1:3] == ["-m", "pipeline.cli"], "becomes what was asked for")
        bench.kill()
    until(lambda: has_ended(command), "ends")


def test_a_rate_is_between_the_first_look_and_the_last() -> None:
    assert rig.rate([sample(1.0, 100), sample(2.0, 150), sample(3.0, 300)]) == 100


@pytest.mark.parametrize("figure", [rig.rate, rig.growth_mb_per_million])
def test_what_was_over_at_the_first_look_has_no_rate(figure) -> None:
    """It was divided by zero."""
    with pytest.raises(SystemExit, match="raise --scale"):
        figure([sample(1.0, 100)])
