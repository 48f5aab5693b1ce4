"""What `sluice serve` may be told: read once from a YAML file, the environment and `--set`, frozen from then on.

Replicas, cluster and bundle are set as a gate's are, by the same names. The bearer token is no setting:
whatever is shown, logged or handed to replicas cannot hold it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from actors.pairs import MAX_CHARS
from pipeline.errors import SettingsError
from pipeline.settings import Limits, Pool, Ray, Section, Settings, Sourced, checked
from pipeline.settings_sources import ENV_PREFIX, Sources

TOKEN_VARIABLE = "SLUICE_TOKEN"
"""Environment variable that holds the bearer token; unset or empty, none is asked for."""


class Http(Section):
    """Where the door is."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    shutdown_grace_s: float = Field(default=30.0, gt=0)
    """After SIGTERM, how long what was accepted may take to be answered. Seconds."""


class Requests(Section):
    """What one request may be, and how long it may take."""

    max_bytes: int = Field(default=8 << 20, ge=1 << 10)
    """Largest body; beyond it 413."""
    max_held_bytes: int = Field(default=256 << 20, ge=1 << 10)
    """Of all bodies that are arriving at once; beyond it 429."""
    max_candidates: int = Field(default=1000, ge=1)
    """Most candidates, texts or documents in one request; beyond it 422."""
    max_chars: int = Field(default=MAX_CHARS, ge=1)
    """Most characters in one composed text; a candidate beyond it is rejected alone."""
    deadline_s: float = Field(default=30.0, gt=0)
    """A request without an answer after so long gets 504. Seconds."""


class Queue(Section):
    """What may wait, and what is scored together."""

    max_wait_s: float = Field(default=0.5, gt=0)
    """What waits before a request, by the measured rate; beyond it 429 with `Retry-After`. Seconds."""
    linger_s: float = Field(default=0.005, ge=0)
    """How long an idle replica waits for company, unless `pool.budget_tokens` are there before. Seconds."""


class Scaling(Section):
    """How Ray Serve sizes the pool between `pool.min_replicas` and `pool.max_replicas`."""

    target_ongoing_requests: float = Field(default=0.7, gt=0)
    """Requests in work or waiting, for each replica, that the pool is sized for. Large ones come in one at a time
    (`queue.max_wait_s`), so that a replica never has more than one: from 1 on, the target would never add one."""
    upscale_delay_s: float = Field(default=10.0, ge=0)
    """How long there must be too many before a replica is added. Seconds."""
    downscale_delay_s: float = Field(default=300.0, ge=0)
    """How long there must be too few before one is let go. Seconds."""
    look_back_s: float = Field(default=15.0, gt=10.0)
    """Requests are averaged over so long; replicas report every 10 seconds. Seconds."""
    max_ongoing_requests: int = Field(default=256, ge=1)
    """Requests that one replica holds at once; it gathers from these. Others wait in the door."""
    start_s: float = Field(default=180.0, gt=0)
    """A pool that is not warm after so long ends the door; a replica that scores one batch for longer, and longer
    than `requests.deadline_s`, is replaced. Seconds."""


class ServeSettings(BaseSettings, Sourced):
    """Everything that one online door needs to know."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )

    bundle: str
    """The bundle that scores: a folder or an address, as for a gate."""
    name: str = Field(default="sluice", pattern=r"^[\w.-]+$")
    """Name of the application on the cluster. Each door needs its own: one that starts removes what another of its
    name left behind."""
    http: Http = Http()
    requests: Requests = Requests()
    queue: Queue = Queue()
    pool: Pool = Pool()
    scaling: Scaling = Scaling()
    ray: Ray = Ray()

    @property
    def of_a_gate(self) -> Settings:
        """The same, as what every door opens its parts with takes it: bundle, pool, limits and cluster."""
        limits = Limits(max_chars=self.requests.max_chars)
        return Settings.model_construct(bundle=self.bundle, pool=self.pool, limits=limits, ray=self.ray)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.requests.max_held_bytes < self.requests.max_bytes:
            raise ValueError("requests.max_held_bytes must not be below requests.max_bytes")
        return self


def load_serve(path: Path | None, overrides: Sequence[str] = ()) -> ServeSettings:
    """Read the settings from a YAML file, the environment and `--set` overrides.

    Args:
        path: YAML file; None for the environment and the overrides alone.
        overrides: Each `dotted.name=value`; the value is read as YAML.

    Returns:
        The settings, checked and frozen.

    Raises:
        SettingsError: A file, name or value is wrong; it names the setting and where it came from.
    """
    try:
        environment = EnvSettingsSource(ServeSettings)()
    except UnreadableVariable as error:
        raise SettingsError("settings", f"a variable is not JSON: {error}", f"{ENV_PREFIX}*") from error
    return checked(ServeSettings, Sources.read(path, environment, overrides))


def take_token() -> str | None:
    """Take the bearer token out of the environment, so that no process which is started from here inherits it.

    Returns:
        The token; None where none is asked for.

    Raises:
        SettingsError: It holds what callers cannot send, or what a bearer token may not hold, such as a space.
    """
    token = os.environ.pop(TOKEN_VARIABLE, "")
    if not all("!" <= one <= "~" for one in token):
        problem = "may hold visible ASCII characters alone; look for a space, or a line's end after it"
        raise SettingsError("the bearer token", problem, TOKEN_VARIABLE)
    return token or None
