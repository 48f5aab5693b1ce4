"""Become another program, one that the kernel kills when the process that started it dies.

Run by its path in a process of its own, as `tether.py PARENT_PID PROGRAM ARGUMENT…`; it imports nothing of
the package, so that it costs a few milliseconds. A `preexec_fn` would do the same, but runs Python between
fork and exec, which may hang when the parent has threads.

The kernel watches the *thread* that did the starting: a broker started from a short-lived thread ends with
it. Where there is no such kernel call (macOS), the program simply outlives a parent that is killed.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Tie this process to its parent, then replace it by the program. Does not return."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was told
        sys.exit("the parent is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
