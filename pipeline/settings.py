"""What an operator may set: read once, checked at once, frozen from then on.

Three places, the later wins: the YAML file, the environment (`SLUICE_GATE__GROUP=a`), `--set gate.group=a`.
An unknown or mistyped name is refused with the name and the place it came from. This module knows neither
the broker nor the engine: what needs those to be checked is checked where they are at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from actors.pairs import MAX_CHARS
from pipeline import codec
from pipeline.errors import SettingsError
from pipeline.kafka.defaults import DEFAULTS
from pipeline.settings_sources import ENV_PREFIX, Sources, read_yaml

SECRET_WORDS = ("password", "secret", "token", "oauth", "proxy")
"""Of settings that are never shown. The address of a proxy may hold a login."""
MASK = "********"
BATCH_OVERHEAD_BYTES = 1024
"""A record batch of one message: its header of 61 bytes, and the record's own, with some room."""
_NAME = "^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$"
"""What Kafka takes for a topic and for a group instance id."""
TopicName = Annotated[str, Field(max_length=249, pattern=_NAME)]


class Section(BaseModel):
    """A group of settings: frozen, closed to unknown names, and without the infinite: JSON has no word for it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        populate_by_name=True,
        allow_inf_nan=False,
    )


class Topics(Section):
    """The topics of one gate. Each output needs the partitions that the settings promise."""

    input: TopicName = "candidates"
    """Where candidates come from."""
    prune: TopicName = "candidates.prune"
    """Severe violations."""
    review: TopicName = "candidates.review"
    """Borderline candidates, for people."""
    pass_: TopicName | None = Field(default="candidates.pass", alias="pass")
    """The rest. Null switches it off; then `audit` is needed, so that nothing goes uncounted."""
    reject: TopicName = "candidates.reject"
    """What could not be scored, as it was read, with the reason."""
    audit: TopicName | None = None
    """Counts per claim, in the same transaction as its verdicts. Needed where `pass` is off."""

    fold_partitions: bool = False
    """Allow outputs with fewer partitions than the input: input partitions then share an output partition,
    by their number modulo its count. Order is promised per input partition all the same."""

    @property
    def outputs(self) -> dict[str, str]:
        """Output topic by route name, those that are switched on."""
        named = {"prune": self.prune, "review": self.review, "pass": self.pass_}
        named |= {"reject": self.reject, "audit": self.audit}
        return {route: topic for route, topic in named.items() if topic is not None}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        outputs = list(self.outputs.values())
        if self.input in outputs:
            raise ValueError(f"topics.input {self.input!r} is also an output: the gate would feed itself")
        if len(set(outputs)) != len(outputs):
            raise ValueError("two outputs share one topic; give each route its own")
        if self.pass_ is None and self.audit is None:
            raise ValueError("topics.pass is off, so topics.audit must name a topic")
        return self


class Gate(Section):
    """Who this gate is, and how far it may act."""

    group: str = Field(default="sluice", min_length=1)
    """Consumer group. Gates of one group share the partitions."""
    instance: str | None = Field(default=None, max_length=249, pattern=_NAME)
    """Name of this gate within its group; needed when there is more than one. Names the group instance id
    and the transactional id, so that its successor ends what it left open. Letters, digits, `.`, `_`, `-`."""
    run: int = Field(default=1, ge=1)
    """Raised by a replay, see `sluice offsets reset`: repeats are judged within one run number."""
    enforce: bool = False
    """False: would-be prunes and reviews go to pass, with the action recorded. On day one leave it so."""
    max_prune_share: float = Field(default=0.2, gt=0, le=1)
    """The brake: when more than this share of the window would be pruned, prune becomes review until the
    brake is lifted (`POST /brake/lift`, at each gate that is braked). It is committed with the offsets: it
    outlives a restart and goes where the partitions go. Offsets that another tool sets forget it."""
    brake_window: int = Field(default=2000, ge=10)
    """Candidates in the brake's window, the latest ones. It judges no fewer."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a group begins that has committed nothing of the topic. A partition that is added later begins at
    its earliest offset."""
    on_lost: Literal["stop", "skip"] = "stop"
    """What to do when retention deleted records unread: stop with an error, or count it and go on."""
    on_undecodable: Literal["stop", "reject"] = "stop"
    """What to do with a record batch that the client cannot decode: stop, or reject its offsets."""
    session_timeout_s: float = Field(default=10.0, ge=6.0)
    """After this long without a heartbeat the group gives this gate's partitions to others. Seconds."""
    idle_after_s: float = Field(default=600.0, gt=0)
    """Without lag for so long, the pool is let go; it comes back with the next candidate. Seconds."""
    shutdown_grace_s: float = Field(default=30.0, gt=0)
    """After SIGTERM, how long what is in flight may take to be committed. Seconds."""


class Claims(Section):
    """How work is cut. Larger claims cost less each; smaller ones wait less."""

    max_offsets: int = Field(default=8192, ge=1)
    """Most offsets in one claim."""
    min_offsets: int = Field(default=64, ge=1)
    """Fewest offsets in one claim while more are waiting."""
    target_s: float = Field(default=1.0, gt=0)
    """How long a replica should work on one claim, by the measured rate. Seconds."""
    max_bytes: int = Field(default=8 << 20, ge=1 << 16)
    """Most payload bytes read for one claim; the rest of it comes back as a claim of its own."""
    drain_s: float = Field(default=30.0, ge=1)
    """The lag should be drained within so long, beside what comes in meanwhile. By the measured rate it says how
    many replicas are wanted, between `pool.min_replicas` and `pool.max_replicas`; less wants more. Seconds."""
    in_flight_per_replica: int = Field(default=4, ge=2)
    """Claims handed out and not yet committed, for each replica that is wanted. Ray adds a replica
    when each has more than 1.75 tasks, so fewer than 2 would never grow the pool."""
    in_flight_bytes: int = Field(default=256 << 20, ge=1 << 20)
    """Estimated payload bytes handed out and not yet committed."""


class Limits(Section):
    """What an input message may be; beyond it is rejected."""

    max_chars: int = Field(default=MAX_CHARS, ge=1)
    """Most characters in one composed text."""
    max_message_bytes: int = Field(default=1_000_000, ge=32 << 10)
    """Largest input value, in bytes. By default, verdicts on it fit into topics as Kafka makes them."""
    max_reject_bytes: int = Field(default=256 << 10, ge=0)
    """A reject's value, key or headers beyond this many bytes are cut, and their digest kept."""

    @property
    def max_output_bytes(self) -> int:
        """Most that the gate may send at once: a batch of verdicts, a reject with all its parts, many messages."""
        reject = 3 * self.max_reject_bytes + codec.REJECT_BYTES
        return max(self.max_message_bytes + codec.VERDICT_BYTES, reject, codec.BATCH_BYTES)

    @property
    def max_batch_bytes(self) -> int:
        """The same for the broker, whose `max.message.bytes` is about a record batch: what outputs must allow."""
        return self.max_output_bytes + BATCH_OVERHEAD_BYTES

    def to_codec(self) -> codec.Limits:
        """As the codec takes them."""
        return codec.Limits(**self.model_dump())


class Publish(Section):
    """One transaction: verdicts, rejects and offsets together."""

    linger_s: float = Field(default=0.05, ge=0)
    """How long a scored claim may wait for others to share its transaction. Seconds."""
    max_messages: int = Field(default=20_000, ge=1)
    """A transaction is closed once it holds this many messages."""
    transaction_timeout_s: float = Field(default=30.0, gt=0)
    """The broker ends a transaction that is open for longer. Below `delivery_timeout_s`."""
    delivery_timeout_s: float = Field(default=60.0, gt=0)
    """The producer gives up a message that was not acknowledged for so long. Seconds. Not below
    `kafka.request_timeout_ms`, by default 15,000."""
    rebuild_deadline_s: float = Field(default=120.0, gt=0)
    """How long to try to build the session anew before the gate exits. Seconds."""
    batch_verdicts: Literal["arrow", "json"] = "arrow"
    """A batch message yields one Arrow message per route, or one JSON message per candidate."""
    compression: Literal["none", "lz4", "zstd", "gzip"] = "lz4"
    """Codec of what is sent."""

    @model_validator(mode="after")
    def _timeouts(self) -> Self:
        if self.transaction_timeout_s >= self.delivery_timeout_s:
            raise ValueError(
                f"transaction_timeout_s ({self.transaction_timeout_s:g}) must be below "
                f"delivery_timeout_s ({self.delivery_timeout_s:g}): a transaction must not outlive a message"
            )
        return self


class Pool(Section):
    """The replicas that score, and the actors that prepare for them."""

    min_replicas: int = Field(default=1, ge=1)
    """Replicas kept while the execution runs."""
    max_replicas: int = Field(default=1, ge=1)
    """Replicas that a growing lag may add up to."""
    cpus_per_replica: float = Field(default=1.0, gt=0)
    """CPU cores that Ray reserves for one replica; also its torch threads, rounded up."""
    gpus_per_replica: float = Field(default=0.0, ge=0)
    """GPUs, or a share of one, that Ray reserves for one replica."""
    prepare_actors: int = Field(default=1, ge=1)
    """Actors that read, decode and tokenize."""
    cpus_per_prepare: float = Field(default=0.5, ge=0)
    """CPU cores that Ray reserves for each of those."""
    budget_tokens: int = Field(default=4096, ge=512)
    """Padded tokens in one forward pass; 131,072 keep a large GPU busy. A replica whose device has no room for so
    many halves it for itself."""
    cache_pairs: int = Field(default=100_000, ge=0)
    """Latest pairs whose score each replica remembers, about 150 bytes each; twice as many at most. 0 for none."""
    preparer: str = "actors.scorer:Preparer"
    """Class that composes and tokenizes; `module:name`."""
    scorer: str = "actors.scorer:Scorer"
    """Class that scores; `module:name`."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas must not be below min_replicas")
        return self


class Execution(Section):
    """One run of the endless Ray Dataset: when it ends, and when it counts as hung."""

    max_age_s: float = Field(default=6 * 3600.0, gt=0)
    """An execution is replaced at this age. Seconds."""
    max_blocks: int = Field(default=200_000, ge=1)
    """An execution is replaced after this many claims: the driver keeps 7 to 10 KB of each (measured,
    Ray 2.60), so that the default stands for about 2 GB."""
    start_s: float = Field(default=180.0, gt=0)
    """A pool that is not warm after so long counts as hung. Seconds."""
    cluster_deadline_s: float = Field(default=600.0, gt=0)
    """How long to look for a Ray cluster that does not answer before the gate exits. Seconds."""
    hang_s: float = Field(default=300.0, gt=0)
    """An execution that holds claims and returns none for so long is ended and replaced; so is one that for
    twice as long keeps a claim which later ones of its partition have overtaken. It must exceed what the largest
    message takes to be scored: a message of 10,000 candidates, at 50 a second, takes 200. Seconds."""


class Ray(Section):
    """The cluster."""

    address: str | None = None
    """Address of a cluster, or `auto`. Null starts Ray on this machine for as long as the gate runs."""
    num_cpus: int | None = Field(default=None, ge=1)
    """Cores that Ray on this machine may count with; null: all. For `address: null`."""
    object_store_mb: int = Field(default=512, ge=80)
    """Shared memory for Ray on this machine. For `address: null`."""
    namespace: str = "sluice"
    """Ray namespace."""


class Http(Section):
    """The doors: `/metrics`, `/healthz`, `/readyz`, `/status`, `/brake/lift`."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=9480, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""


class Backfill(Section):
    """`sluice backfill`: how its work is cut, what it sends, and what it costs."""

    part_rows: int = Field(default=20_000, ge=1)
    """Most rows in one part: what is scored, written and, after an interruption, done again as one."""
    part_bytes: int = Field(default=32 << 20, ge=1 << 10)
    """Most bytes of input in one part, for rows that are long; a part has at least one row."""
    emit_format: Literal["json", "arrow"] = "json"
    """With `--emit`: one JSON message per verdict, or Arrow messages of many."""
    core_hour_price: float = Field(default=0.0, ge=0)
    """What an hour of one CPU core costs, for the cost in the manifest, in whatever currency."""
    gpu_hour_price: float = Field(default=0.0, ge=0)
    """What an hour of one GPU costs; likewise."""


class Sourced(BaseModel):
    """Settings that know where each of them came from."""

    _sources: Sources = PrivateAttr(default=Sources())

    def refuse(self, setting: str, problem: str) -> SettingsError:
        """The error for a setting that cannot be used, with the place that it came from; to be raised."""
        return SettingsError(setting, problem, self._sources.of(setting))


Read = TypeVar("Read", bound=Sourced)


class Settings(BaseSettings, Sourced):
    """Everything that one gate needs to know."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )

    bundle: str
    """The bundle that scores: a folder, the same on every node; an address that fsspec knows (s3://...); or
    hf://owner/name@<40 digits of a commit>. After it #sha256:... says which digest it must have. See
    docs/bundle-format.md."""
    kafka: dict[str, Any] = Field(default={"bootstrap_servers": "127.0.0.1:9092"})
    """Handed to every Kafka client: addresses, TLS, SASL; names are kafka-python's."""
    topics: Topics = Topics()
    gate: Gate = Gate()
    claims: Claims = Claims()
    limits: Limits = Limits()
    publish: Publish = Publish()
    pool: Pool = Pool()
    execution: Execution = Execution()
    ray: Ray = Ray()
    http: Http = Http()
    backfill: Backfill = Backfill()

    @property
    def transactional_id(self) -> str:
        """One per gate instance, stable over restarts: a successor ends what its predecessor left open."""
        return f"sluice:{self.gate.group}:{self.gate.instance or ''}"  # no instance holds a colon

    def shown(self) -> dict[str, Any]:
        """The settings for display: JSON-able, secrets masked."""
        shown = self.model_dump(mode="json", by_alias=True)
        shown["kafka"] = {
            key: MASK if value and any(word in key for word in SECRET_WORDS) else value
            for key, value in shown["kafka"].items()
        }
        return shown


def load(path: Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Read the settings from a YAML file, the environment and `--set` overrides.

    Args:
        path: YAML file; None for the environment and the overrides alone.
        overrides: Each `dotted.name=value`; the value is read as YAML.

    Returns:
        The settings, checked and frozen.

    Raises:
        SettingsError: A file, name or value is wrong; it names the setting and where it came from.
    """
    settings = checked(Settings, Sources.read(path, _environment(), overrides))
    _check_delivery(settings)
    return settings


def checked(kind: type[Read], sources: Sources) -> Read:
    """The settings that the sources add up to.

    Args:
        kind: Which settings.
        sources: What each place said.

    Returns:
        The settings, checked and frozen; they know where each came from.

    Raises:
        SettingsError: A name or value is wrong; it names the setting and where it came from.
    """
    merged = sources.merged
    for name in merged:
        # `on`, which YAML reads as true; and what pydantic would take for orders to itself.
        if name not in kind.model_fields:
            raise SettingsError(str(name), "there is no such setting", sources.of(str(name)))
    try:
        settings = kind(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        raise SettingsError(name, _problem(first["type"], first["msg"]), sources.of(name)) from error
    settings._sources = sources  # noqa: SLF001 - set once, here, where they are read
    return settings


def _check_delivery(settings: Settings) -> None:
    """Refuse what kafka-python's producer would refuse, which is built once the runner has started."""
    delivery_s = settings.publish.delivery_timeout_s
    request_ms = {**DEFAULTS, **settings.kafka}["request_timeout_ms"]
    # One that is no number is refused, by its name, where a client is opened.
    if isinstance(request_ms, int) and delivery_s * 1000 < request_ms:
        problem = (
            f"{delivery_s:g} s is below kafka.request_timeout_ms ({request_ms}), and a message must not be "
            "given up before its request is: raise it, or lower that"
        )
        raise settings.refuse("publish.delivery_timeout_s", problem)


def _environment() -> dict[str, Any]:
    """The environment's values, as a tree. Those of `kafka` have no declared type: they are read as YAML."""
    try:
        found = EnvSettingsSource(Settings)()
    except UnreadableVariable as error:
        raise SettingsError("settings", f"a variable is not JSON: {error}", f"{ENV_PREFIX}*") from error
    kafka = found.get("kafka")
    if isinstance(kafka, dict):  # anything else is refused with the other settings
        found["kafka"] = {name: _typed(name, text) for name, text in kafka.items()}
    return found


def _typed(name: str, text: object) -> object:
    if not isinstance(text, str) or any(word in name for word in SECRET_WORDS):
        return text  # a password of digits stays a text
    try:
        return read_yaml(text)
    except ValueError as error:
        variable = f"{ENV_PREFIX}KAFKA__{name.upper()}"
        raise SettingsError(f"kafka.{name}", f"the value is not YAML: {error}", variable) from error


def _problem(kind: str, message: str) -> str:
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        return "there is no such setting"
    return message.removeprefix("Value error, ")
