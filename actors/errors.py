"""Every error that this package raises: one root, two families, facts instead of sentences.

* `BundleError`: the folder cannot be trusted or used. Nothing is ever scored with it.
* `ScoringError`: a replica cannot work as it was set up.

Beside them: what making a bundle can meet.

Text that cannot be scored is no error: it is a `pairs.TextProblem`, a value. Constructors pass their
facts to `super().__init__`, so that every error survives pickling between processes.
"""

from __future__ import annotations


class ActorError(Exception):
    """The root."""


class BundleError(ActorError):
    """A bundle that must not be used."""


class BundleProblem(BundleError):
    """The folder is not a bundle of this format, or a part of it is missing, surplus or malformed.

    Args:
        path: The bundle's folder.
        problem: What is wrong, and what would be right.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"bundle {self.path}: {self.problem}"


class DigestMismatch(BundleError):
    """A file of the bundle is not the one that was written into it.

    Args:
        path: The bundle's folder.
        file: Name of the file within it.
        expected: The digest in the manifest, `sha256:<hex>`.
        found: The digest of what is there.
    """

    def __init__(self, path: str, file: str, expected: str, found: str) -> None:
        super().__init__(path, file, expected, found)
        self.path = path
        self.file = file
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        return f"bundle {self.path}: {self.file} was altered (manifest {self.expected}, found {self.found})"


class CalibrationFailed(ActorError):
    """No increasing map fits these logits and labels.

    Args:
        problem: Why not.
        n_severe: Labels that say severe.
        n_other: Labels that do not.
    """

    def __init__(self, problem: str, n_severe: int, n_other: int) -> None:
        super().__init__(problem, n_severe, n_other)
        self.problem = problem
        self.n_severe = n_severe
        self.n_other = n_other

    def __str__(self) -> str:
        return f"cannot calibrate on {self.n_severe} severe and {self.n_other} other pairs: {self.problem}"


class DataRefused(ActorError):
    """Labels, or other data to learn from, that cannot be used.

    Args:
        source: The file, and the row in it if it is about one.
        problem: What is wrong, and what would be right.
    """

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(source, problem)
        self.source = source
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.source}: {self.problem}"


class ExtraMissing(ActorError):
    """An optional part of the installation is needed and not there.

    Args:
        extra: Name of the extra, such as `train`.
        module: The module that was not found.
    """

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(extra, module)
        self.extra = extra
        self.module = module

    def __str__(self) -> str:
        return f"no module {self.module!r} here; install what this needs with: pip install 'sluice[{self.extra}]'"


class TrainingStopped(ActorError):
    """A run that cannot go on.

    Args:
        folder: Where its states are.
        problem: What happened, and what would be right.
    """

    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(folder, problem)
        self.folder = folder
        self.problem = problem

    def __str__(self) -> str:
        return f"training stopped, its states are in {self.folder}: {self.problem}"


class TriesSpent(ActorError):
    """One more try on the same labels than was planned.

    Args:
        record: The file that holds the tries.
        n_planned: How many were planned before the first.
    """

    def __init__(self, record: str, n_planned: int) -> None:
        super().__init__(record, n_planned)
        self.record = record
        self.n_planned = n_planned

    def __str__(self) -> str:
        return (
            f"{self.record}: all {self.n_planned} planned tries on these labels are made; use a bundle, target "
            "and traffic tried before, or label a fresh sample of clusters and plan more tries before the first"
        )


class ScoringError(ActorError):
    """A replica that cannot score."""


class DeviceMissing(ScoringError):
    """The device that was asked for is not here.

    Args:
        device: Its name.
        present: The devices that are.
    """

    def __init__(self, device: str, present: tuple[str, ...]) -> None:
        super().__init__(device, present)
        self.device = device
        self.present = present

    def __str__(self) -> str:
        return f"no device {self.device!r} here; there is: {', '.join(self.present)}"


class ScoresDrifted(ScoringError):
    """A replica does not score as the bundle says.

    Args:
        path: The bundle's folder.
        serving: How the bundle is to be computed.
        drift: Root mean square difference of the logits of its probes, in their standard deviations.
        bound: What it may be.
    """

    def __init__(self, path: str, serving: str, drift: float, bound: float) -> None:
        super().__init__(path, serving, drift, bound)
        self.path = path
        self.serving = serving
        self.drift = drift
        self.bound = bound

    def __str__(self) -> str:
        return (
            f"bundle {self.path}: computed as {self.serving}, its probes differ by {self.drift:.2g} standard "
            f"deviations from what they were when its thresholds were set; {self.bound:g} is allowed. Serve it on "
            "a processor like that one, or make a child for this one: sluice bundle optimise"
        )


class OutOfMemory(ScoringError, MemoryError):
    """A device has no room for a piece.

    Args:
        device: Its name.
        n_tokens: Padded tokens of the piece.
    """

    def __init__(self, device: str, n_tokens: int) -> None:
        super().__init__(device, n_tokens)
        self.device = device
        self.n_tokens = n_tokens

    def __str__(self) -> str:
        return f"{self.device} has no room for {self.n_tokens} padded tokens at once"


class RowTooLong(ScoringError):
    """One pair alone exceeds the token budget of a piece.

    Args:
        n_tokens: What it takes, padded.
        budget_tokens: What a piece may take.
    """

    def __init__(self, n_tokens: int, budget_tokens: int) -> None:
        super().__init__(n_tokens, budget_tokens)
        self.n_tokens = n_tokens
        self.budget_tokens = budget_tokens

    def __str__(self) -> str:
        return f"a pair of {self.n_tokens} padded tokens exceeds the budget of {self.budget_tokens}"
