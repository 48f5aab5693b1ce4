"""The life of a child process: it never outlives its parent, and it never hears the terminal's signals."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h
GONE_WITHIN_S = 10.0
"""How long a process that was killed is waited for."""


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
    """End a process that leads its session, and whatever is left of that session, at once; then reap it.

    Blocks until it is gone, or for 10 s: a process that the kernel holds in a call (a device or a file system that
    does not answer) dies when that call returns, and is reaped by whoever asks next.

    Args:
        process: Leads its session.
    """
    with contextlib.suppress(ProcessLookupError):  # all of it had ended
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(GONE_WITHIN_S)
    except subprocess.TimeoutExpired:
        logger.warning(
            "process %d was killed and is not gone after %g s; it is not waited for",
            process.pid,
            GONE_WITHIN_S,
        )
