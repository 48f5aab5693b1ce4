"""The life of a child process: it never outlives its parent, and it never hears the terminal's signals."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies, even by SIGKILL. Linux; elsewhere no effect.

    Args:
        parent: The parent's process id, as the parent saw it: if it is gone already, this process exits.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"the parent process {parent} is gone")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads its session, and whatever is left of that session, at once; then reap it."""
    with contextlib.suppress(ProcessLookupError):  # all of it had ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
