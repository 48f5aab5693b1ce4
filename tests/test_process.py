from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from pipeline.process import kill_group

CHILD = "import os, sys, time; from pipeline.process import die_with_parent; die_with_parent({parent}); "
SAY_AND_SLEEP = "print(os.getpid(), flush=True); time.sleep(60)"


def python(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def said(process: subprocess.Popen[bytes]) -> int:
    """The process id that it wrote."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def ends(pid: int, *, within_s: float = 30.0) -> bool:
    """Whether the process ends, or is left for somebody to reap."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is asked for on Linux alone")
def test_a_child_dies_with_its_parent_even_when_that_is_killed() -> None:
    child = CHILD.format(parent="os.getppid()") + SAY_AND_SLEEP
    parent = python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    pid = said(parent)
    os.kill(parent.pid, 9)
    parent.wait()
    assert ends(pid)
    close(parent)


def test_a_child_whose_parent_is_gone_already_does_not_start() -> None:
    orphan = python(CHILD.format(parent=1) + SAY_AND_SLEEP)
    _, complaint = orphan.communicate(timeout=60)
    assert orphan.returncode == 1
    assert b"the parent process 1 is gone" in complaint


def test_a_group_is_ended_with_everything_in_it() -> None:
    leader = python(
        "import subprocess, time; child = subprocess.Popen(['sleep', '60']); "
        "print(child.pid, flush=True); time.sleep(60)"
    )
    pid = said(leader)
    kill_group(leader)
    assert leader.returncode == -9
    assert ends(pid)
    kill_group(leader)
    close(leader)


def test_a_process_that_the_kernel_holds_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The keeper stood still with it, and its doors said so."""
    held = python("import os, time; " + SAY_AND_SLEEP)
    said(held)
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.process.GONE_WITHIN_S", 0.1)
        patched.setattr(os, "killpg", lambda *_: None)
        kill_group(held)
    assert f"process {held.pid} was killed and is not gone" in caplog.text
    kill_group(held)
    assert held.returncode == -9
    close(held)
