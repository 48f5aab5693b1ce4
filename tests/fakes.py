"""Hand-written stand-ins for the parts that a test leaves out: clock, execution, broker, reader and model.

They keep what was done to them in plain lists. Those that the settings can name (`ArithmeticPreparer`,
`PoisonPreparer`, `ArithmeticScorer`, `PoisonScorer`) are opened like the real ones, so that a runner can be
given them too.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actors.bundle import Bundle, write_bundle
from actors.calibration import PlattMap
from actors.errors import DeviceMissing
from actors.manifest import Manifest, ReferenceScores
from actors.pairs import Fault, Fields, PairTemplate, Side, TextProblem
from actors.policy import Policy
from actors.rubric import SEVERE_OR_NOT
from actors.scorer import Effort, Prepared, Scores
from actors.tokens import Tokens
from pipeline import link
from pipeline.errors import Undecodable
from pipeline.execution import Outcome
from pipeline.kafka.member import Assignment, Ends
from pipeline.kafka.reader import RangeRead
from pipeline.records import Batch, Claim, Headers, Record, TopicPartition
from tests.messages import messages
from tests.model_folders import model_stand_in


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def step(self, seconds: float) -> None:
        self.now += seconds


class FakeExecution:
    """An execution without a process: it keeps what it was handed, and gives back what a test puts in.

    Its clock is the machine's, as its keeper's is, unless a test has one of its own: born at zero, it was too old
    for its keeper on a machine that had been up for six hours.
    """

    def __init__(self, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = number
        self.pid = 10_000 + number
        self._clock = clock
        self.started_at = self.heard_at = self._clock()
        self.n_results = 0
        self.warm = False
        self.ending_since: float | None = None
        self.ended: Outcome | None = None
        self.handed: list[Claim] = []
        self.killed = False
        self.closed = False
        self.waited: list[float] = []
        """Each time that `take` was allowed to wait for, in seconds."""
        self._frames: list[link.Frame] = []

    def give(self, *frames: link.Frame) -> None:
        """What the keeper takes next."""
        self._frames += frames

    def hand(self, claims: Iterable[Claim]) -> None:
        self.handed += claims

    def take(self, timeout_s: float) -> list[link.Frame]:
        self.waited.append(timeout_s)
        frames, self._frames = self._frames, []
        if frames:
            self.heard_at = self._clock()
            self.n_results += len(frames)
            self.warm = self.warm or any(isinstance(frame, link.Warm) for frame in frames)
        return frames

    def end(self) -> None:
        if self.ending_since is None:
            self.ending_since = self._clock()

    def kill(self) -> None:
        self.killed = True

    def outcome(self) -> Outcome | None:
        return self.ended

    def close(self) -> None:
        self.closed = True


class RecordingTransactor:
    """Keeps the verbs it heard; raises instead where a test says so.

    Args:
        fails: What to raise, by the name of the verb.
    """

    def __init__(self, fails: Mapping[str, Exception] | None = None) -> None:
        self.fails = dict(fails or {})
        self.reusable = True
        self.calls: list[str] = []
        self.sent: list[tuple[TopicPartition, bytes | None, bytes | None, Headers]] = []
        self.offsets: list[Mapping[TopicPartition, int]] = []
        self.groups: list[object] = []
        self.committed: dict[TopicPartition, int] = {}
        self.notes: dict[TopicPartition, str] = {}
        """What was committed with them."""
        self._note = ""

    def _hear(self, verb: str) -> None:
        self.calls.append(verb)
        if verb in self.fails:
            raise self.fails[verb]

    def init(self) -> None:
        self._hear("init")

    def begin(self) -> None:
        self._hear("begin")

    def send(self, target: TopicPartition, batch: Batch) -> None:
        self._hear("send")
        self.sent += [(target, output.key, output.value, output.headers) for output in messages(batch)]

    def confirm(self) -> None:
        self._hear("confirm")

    def commit_offsets(self, offsets: Mapping[TopicPartition, int], group: Any, *, note: str = "") -> None:
        self._hear("commit_offsets")
        self.offsets.append(offsets)
        self.groups.append(group)
        self._note = note

    def commit(self) -> None:
        self._hear("commit")
        self.committed |= self.offsets[-1]
        self.notes |= dict.fromkeys(self.offsets[-1], self._note)

    def close(self) -> None:
        self._hear("close")


class ScriptedMember:
    """A member of a group whose other members are the test.

    Args:
        ends: How far each partition reaches, for `end_offsets`; one that is not in it has no leader.
    """

    def __init__(self, ends: Mapping[TopicPartition, int]) -> None:
        self.ends = dict(ends)
        self.revoked = False
        self.left: bool | None = None
        """How it was closed; None while it is open."""
        self._coming: deque[Assignment] = deque()
        self._owned: Iterable[TopicPartition] = ()

    def assign(
        self,
        positions: Mapping[TopicPartition, int],
        *,
        fresh: Mapping[TopicPartition, int] | None = None,
        notes: Mapping[TopicPartition, str] | None = None,
    ) -> Assignment:
        """What the next poll brings."""
        number = len(self._coming) + 1
        assignment = Assignment(number, positions, fresh or {}, object(), notes=notes or {})
        self._coming.append(assignment)
        return assignment

    def poll(self, timeout_s: float) -> Assignment | None:
        if not self._coming:
            return None
        assignment = self._coming.popleft()
        self._owned = assignment.positions
        self.revoked = False
        return assignment

    def end_offsets(self) -> dict[TopicPartition, Ends]:
        return {one: Ends(self.ends[one], self.ends[one]) for one in self._owned if one in self.ends}

    def close(self, *, leave: bool) -> None:
        self.left = leave


class ListReader:
    """Reads from a list, with the holes that a real log has.

    Args:
        records: What the partition holds, in offset order.
        earliest: Offsets below are gone.
        undecodable: Offsets that the client cannot decode.
        fails: What to raise at once.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        earliest: int = 0,
        undecodable: Iterable[int] = (),
        fails: Exception | None = None,
    ) -> None:
        self._records = records
        self._earliest = earliest
        self._undecodable = sorted(undecodable)
        self.fails = fails

    def read(
        self, source: TopicPartition, start: int, end: int, *, max_records: int, max_bytes: int
    ) -> RangeRead:
        if self.fails is not None:
            raise self.fails
        if start < self._earliest:
            return RangeRead([], min(end, self._earliest), self._earliest)
        if start in self._undecodable:
            raise Undecodable(*source, start, "a bad checksum")
        bad = min((offset for offset in self._undecodable if offset > start), default=end)
        found: list[Record] = []
        n_bytes = 0
        for record in self._records:
            if start <= record.offset < min(end, bad):
                found.append(record)
                n_bytes += len(record.value or b"")
                if len(found) == max_records or n_bytes >= max_bytes:
                    return RangeRead(found, record.offset + 1)
        return RangeRead(found, min(end, bad))

    def close(self) -> None:
        """Nothing to let go of."""


class ScriptedTrial:
    """A trial without a process: it answers what a test gives it.

    Args:
        answers: One for each item.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = answers
        self.items: list[Any] | None = None
        """What was tried; None if nothing was."""

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.items = list(items)
        return list(self._answers)


def stand_in_bundle(folder: Path) -> Bundle:
    """A bundle for the arithmetic scorer: it prunes from 2 and reviews from 1; there is no model in it."""
    model = folder / "model"
    model.mkdir(parents=True)
    return write_bundle(
        folder / "bundle",
        model_folder=model_stand_in(model),
        manifest=Manifest(
            name="stand-in",
            template=PairTemplate(),
            max_tokens=64,
            calibration=PlattMap(slope=1.0, intercept=0.0),
            policy=Policy(prune=2.0, review=1.0, rests_on="set by hand, for tests"),
            reference=ReferenceScores.of([0.0, 1.0]),
            rubric=SEVERE_OR_NOT,
            roles={},
            origin="none",
        ),
    )


class ArithmeticPreparer:
    """The document's text is a number in hundredths, and that is its one token: `150` will score 1.5."""

    def __init__(self, bundle_path: Path | str = "", *, max_chars: int = 1000) -> None:
        self._max_chars = max_chars

    def prepare(self, queries: Sequence[Fields], documents: Sequence[Fields]) -> Prepared:
        texts = [document["text"] for document in documents]
        problems = [(at, problem) for at, text in enumerate(texts) if (problem := self._problem(text))]
        kept = sorted({*range(len(texts))} - {at for at, _ in problems})
        ids = np.array([int(texts[at]) for at in kept], np.int32)
        return Prepared(kept, Tokens(ids, np.arange(len(kept) + 1, dtype=np.int32), None), problems)

    def _problem(self, text: str) -> TextProblem | None:
        if not text:
            return TextProblem(Side.DOCUMENT, Fault.EMPTY, 0, self._max_chars)
        if len(text) > self._max_chars:
            return TextProblem(Side.DOCUMENT, Fault.TOO_LONG, len(text), self._max_chars)
        return None


class PoisonPreparer(ArithmeticPreparer):
    """One text takes its process down, as a bad input does to a parser."""

    ABORTS = "abort"

    def prepare(self, queries: Sequence[Fields], documents: Sequence[Fields]) -> Prepared:
        if any(document["text"] == self.ABORTS for document in documents):
            os.abort()
        return super().prepare(queries, documents)


class ArithmeticScorer:
    """Scores a pair with its one token, in hundredths. `NOT_A_NUMBER` scores nan."""

    NOT_A_NUMBER = 999_999

    def __init__(self, bundle_path: Path | str, **_: int | None) -> None:
        self.bundle = Bundle.open(bundle_path)
        self.effort = Effort()

    def score(self, tokens: Tokens) -> Scores:
        self.effort.pairs += len(tokens)
        self.effort.encoded += len(tokens)
        self.effort.tokens += len(tokens.ids)
        self.effort.padded += len(tokens.ids)
        logit = (tokens.ids / 100).astype(np.float32)
        logit[tokens.ids == self.NOT_A_NUMBER] = np.nan
        manifest = self.bundle.manifest
        relevance = manifest.calibration.relevance(logit).astype(np.float32)
        return Scores(logit, relevance, manifest.policy.decide(logit))


class PoisonScorer(ArithmeticScorer):
    """Some tokens do to it what a bad input does to a model: raise, or take the process down."""

    RAISES = 1_000_001
    EXITS = 1_000_002
    IS_KILLED = 1_000_003
    BREAKS = 1_000_004
    """After this one it can score nothing any more, as a CUDA device after a failed assertion."""

    def __init__(self, bundle_path: Path | str, **_: int | None) -> None:
        super().__init__(bundle_path)
        self._broken = False

    def score(self, tokens: Tokens) -> Scores:
        if self.EXITS in tokens.ids:
            os._exit(3)
        if self.IS_KILLED in tokens.ids:
            os.kill(os.getpid(), signal.SIGKILL)
        self._broken = self._broken or self.BREAKS in tokens.ids
        if self._broken or self.RAISES in tokens.ids:
            raise RuntimeError("the device gave up")
        return super().score(tokens)


class DevicelessScorer(ArithmeticScorer):
    """Cannot be opened on this machine."""

    def __init__(self, bundle_path: Path | str, **_: int | None) -> None:
        super().__init__(bundle_path)
        raise DeviceMissing("cuda:7", ("cpu",))


class GatedScorer(ArithmeticScorer):
    """Holds on to one token while the file `shut` lies beside the bundle, so that a test may come between."""

    WAITS = 777

    def score(self, tokens: Tokens) -> Scores:
        while self.WAITS in tokens.ids and (self.bundle.path.parent / "shut").exists():
            time.sleep(0.05)
        return super().score(tokens)
