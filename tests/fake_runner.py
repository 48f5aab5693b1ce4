"""A runner without an engine: a program of its own, because an execution starts it; it loads in no time."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time

from pipeline import link
from pipeline.process import die_with_parent

PROGRAM = (__file__,)
FAILS_AT, IS_KILLED_AT, LEAVES_A_CHILD_AT, SLEEPS_AT = 10_001, 10_002, 10_003, 10_004
"""First offsets of the claims that make it do so."""


def main() -> None:
    """Give every claim back unread, with the process id for a reason."""
    job: link.Job = pickle.load(sys.stdin.buffer)
    die_with_parent(job.parent)
    with job.address.connect(link.Role.RESULTS) as results:
        results.send(link.Warm())
        for claim in link.claims(job.address):
            because = str(os.getpid())
            if claim.start == IS_KILLED_AT:
                os.kill(os.getpid(), signal.SIGKILL)
            if claim.start == SLEEPS_AT:
                time.sleep(60)
            if claim.start == LEAVES_A_CHILD_AT:
                because = str(subprocess.Popen(["sleep", "60"]).pid)
            results.send(link.Unread(claim, because))
            if claim.start == FAILS_AT:
                sys.exit(1)


if __name__ == "__main__":
    main()
