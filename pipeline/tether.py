"""Become another program, in another folder, that the kernel kills when the process which started it dies.

Run as `python -m pipeline.tether PARENT_PID FOLDER PROGRAM ARGUMENT…`. A `preexec_fn` would do the same,
but runs Python between fork and exec, which may hang when the parent has threads.

The kernel watches the *thread* that did the starting: a program started from a short-lived thread ends with
it. Where there is no such kernel call (macOS), the program outlives a parent that is killed.
"""

import os
import sys
from pathlib import Path

from pipeline.process import die_with_parent


def tethered(folder: Path, *command: str) -> list[str]:
    """The command line by which a command becomes such a program, of whoever starts it in this process."""
    return [sys.executable, "-m", "pipeline.tether", str(os.getpid()), str(folder), *command]


def main() -> None:
    """Tie this process to its parent, then replace it by the program. Does not return."""
    _, parent, folder, *command = sys.argv
    die_with_parent(int(parent))
    os.chdir(folder)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
