"""The values that travel through the gate. Plain data: no client, no engine, no model.

A `Record` is what Kafka holds. A `Claim` is a range of offsets to work on. A `Candidate` batch and
`Rejected` values come out of decoding; `Output`s are what is to be sent, and `Batch`es of them what is.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

Headers = Sequence[tuple[str, bytes | None]]
"""Kafka headers: order and repeats are kept."""


class Action(enum.StrEnum):
    """What the policy says about a candidate."""

    PRUNE = "prune"
    REVIEW = "review"
    PASS = "pass"


class Route(enum.StrEnum):
    """The output topic that a message goes to."""

    PRUNE = "prune"
    REVIEW = "review"
    PASS = "pass"
    REJECT = "reject"
    AUDIT = "audit"


class Mode(enum.StrEnum):
    """How far the gate lets the model act. It decides the route; the action is recorded as it was."""

    ENFORCE = "enforce"
    """Prunes are pruned."""
    OBSERVE = "observe"
    """Everything goes to pass: day one, `gate.enforce: false`."""
    BRAKED = "braked"
    """Prune becomes review, because too large a share would have been pruned."""

    def route(self, action: Action) -> Route:
        """Where a candidate with this action goes."""
        if self is Mode.OBSERVE:
            return Route.PASS
        if self is Mode.BRAKED and action is Action.PRUNE:
            return Route.REVIEW
        return Route(action.value)


class Reason(enum.StrEnum):
    """Why something was rejected. The codes are part of the wire format: never reuse one."""

    EMPTY_VALUE = "empty_value"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    DUPLICATE_KEY = "duplicate_key"
    LONE_SURROGATE = "lone_surrogate"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    UNKNOWN_CONTENT_TYPE = "unknown_content_type"
    NOT_ARROW = "not_arrow"
    TRUNCATED_ARROW = "truncated_arrow"
    MISSING_COLUMN = "missing_column"
    EMPTY_ID = "empty_id"
    EMPTY_TEXT = "empty_text"
    TEXT_TOO_LONG = "text_too_long"
    SCORE_NOT_FINITE = "score_not_finite"
    SCORING_FAILED = "scoring_failed"
    UNDECODABLE_BATCH = "undecodable_batch"
    PREPARING_FAILED = "preparing_failed"


class Stage(enum.StrEnum):
    """Where in the gate a reject arose; the value of the `__connect.errors.stage` header."""

    READ = "READ"
    DECODE = "DECODE"
    COMPOSE = "COMPOSE"
    SCORE = "SCORE"


class TopicPartition(NamedTuple):
    """One partition of a topic, as text: `topic[partition]`."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(NamedTuple):
    """One Kafka message as it was read.

    `timestamp_ms` is epoch milliseconds; `value` and `key` are None where the message had null.
    """

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """A half-open offset range of one partition, handed out under one assignment: the unit of work."""

    source: TopicPartition
    start: int
    """First offset."""
    end: int
    """One past the last offset; greater than `start`."""
    assignment: int
    """Number of the assignment that it was cut under. Results of another one are dropped."""
    mode: Mode
    """How far the model may act on these rows."""
    attempt: int = 1
    """Counts the executions that were given this claim, from 1."""
    condemned: bool = False
    """Its one message ended an execution, alone: it is worked on in a process of its own, see `trial`."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a claim needs 0 <= start < end, not [{self.start}, {self.end})")

    @property
    def n_offsets(self) -> int:
        """How many offsets it covers; records may be fewer (compaction, transaction markers)."""
        return self.end - self.start

    def part(self, start: int, end: int) -> Claim:
        """The same claim over a smaller range."""
        return replace(self, start=start, end=end)

    def __str__(self) -> str:
        return f"{self.source}@[{self.start},{self.end})"


@dataclass(frozen=True, slots=True)
class Candidates:
    """What decoding a claim yields, column by column: lists of equal length, one entry per candidate."""

    record: list[int]
    """Index into the claim's records, ascending."""
    row: list[int]
    """Row within a batch message; 0 for a single candidate."""
    candidate_id: list[str]
    query: list[Mapping[str, str]]
    """Query-side fields; a flat string arrives as the one field `text`."""
    document: list[Mapping[str, str]]
    """Document-side fields; likewise."""

    def __len__(self) -> int:
        return len(self.record)

    def of(self, first: int, stop: int) -> Candidates:
        """Those of the records `first` to `stop`, which count from 0 then."""
        at = slice(bisect_left(self.record, first), bisect_left(self.record, stop))
        record = [one - first for one in self.record[at]]
        return Candidates(record, self.row[at], self.candidate_id[at], self.query[at], self.document[at])


class Rejected(NamedTuple):
    """Something that was read and cannot be scored. A value, never an exception."""

    record: int
    """Index into the claim's records."""
    row: int
    """Row within a batch message; -1 for the whole message; 0 for a single candidate."""
    reason: Reason
    stage: Stage
    detail: str
    """What was wrong, for a person. At most a few hundred characters, never the payload."""


class Output(NamedTuple):
    """One message to be sent. Its partition follows from the claim's (see `publisher`)."""

    route: Route
    key: bytes | None
    value: bytes | None
    headers: Headers


class Batch(NamedTuple):
    """Messages of one route in order, encoded as Kafka stores them (`codec.record_batch`)."""

    route: Route
    n_messages: int
    body: bytes


class Counts(NamedTuple):
    """How many rows of a claim ended how; `actions` are the policy's, not the routes."""

    prune: int = 0
    review: int = 0
    pass_: int = 0
    rejected: int = 0
    records: int = 0
    """Messages read."""

    def __add__(self, other: object) -> Counts:
        """Sum, field by field."""
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def __sub__(self, other: Counts) -> Counts:
        """Difference, field by field."""
        return Counts(*(a - b for a, b in zip(self, other, strict=True)))

    @property
    def scored(self) -> int:
        """Candidates that have a verdict."""
        return self.prune + self.review + self.pass_


class Effort(NamedTuple):
    """What a scorer had to do for some pairs."""

    pairs: int = 0
    """Scored, repeats and all."""
    repeats: int = 0
    """Of these, not encoded: the same pair had been."""
    tokens: int = 0
    """Of the encoded pairs."""
    padded_tokens: int = 0
    """The same with their padding."""
    halvings: int = 0
    """How often the device had no room for the token budget."""

    def __add__(self, other: object) -> Effort:
        """Sum, field by field."""
        if not isinstance(other, Effort):
            return NotImplemented
        return Effort(*(a + b for a, b in zip(self, other, strict=True)))

    def __sub__(self, other: Effort) -> Effort:
        """Difference, field by field."""
        return Effort(*(a - b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Completed:
    """A claim, or a piece of one, that came back: what to publish for it, and what it took."""

    claim: Claim
    """The range that it covers."""
    outputs: bytes
    """Its `Batch`es, packed (`codec.payload`)."""
    counts: Counts
    reasons: Mapping[Reason, int] = field(default_factory=dict)
    """How many rows were rejected for which reason; they add up to `counts.rejected`."""
    n_bytes: int = 0
    """Payload bytes that were read for it."""
    oldest_ms: int | None = None
    """Timestamp of its oldest record that has one, epoch milliseconds; None without."""
    prepare_s: float = 0.0
    score_s: float = 0.0
    effort: Effort = field(default_factory=Effort)
    """What scoring it took; none where it was scored in a trial."""
    replica: str = ""
    """Which replica scored it."""
    lost: int = 0
    """Offsets at the start of the range that retention had deleted unread."""
