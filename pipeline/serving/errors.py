"""What a caller is told who gets no verdicts, and what ends a door or a replica."""

from __future__ import annotations

import enum

from pipeline.errors import FatalError, SluiceError


class Kind(enum.StrEnum):
    """Why there is no answer; where text-embeddings-inference has a word for it, that word."""

    VALIDATION = "Validation"
    UNAUTHORIZED = "Unauthorized"
    NOT_FOUND = "NotFound"
    OVERLOADED = "Overloaded"
    UNHEALTHY = "Unhealthy"
    TIMEOUT = "Timeout"


class Refusal(SluiceError):
    """A request that is not answered with verdicts.

    Args:
        status: HTTP status.
        kind: For programs.
        said: What was wrong, and what would be right; never the payload.
        retry_after_s: When to try again, in seconds; None where that would not help.
    """

    def __init__(self, status: int, kind: Kind, said: str, retry_after_s: int | None = None) -> None:
        super().__init__(status, kind, said, retry_after_s)
        self.status = status
        self.kind = kind
        self.said = said
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.said


def caller_gone() -> Refusal:
    """Of a caller who closed the connection. Nobody reads it; its status, 499, is for the metrics."""
    return Refusal(499, Kind.TIMEOUT, "the caller has gone")


class ScorerBroken(SluiceError):
    """The scorer raised, and is not asked again.

    Args:
        because: What it raised.
    """

    def __init__(self, because: str) -> None:
        super().__init__(because)
        self.because = because

    def __str__(self) -> str:
        return f"the scorer is broken: {self.because}"


class DoorFailed(FatalError):
    """A door that cannot have replicas.

    Args:
        problem: What happened.
    """

    exit_code = 69  # EX_UNAVAILABLE

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"{self.problem}; what the replicas wrote above says why, most often memory, the device, the address "
            "of the cluster or the bundle's path on the nodes"
        )
