"""A fault point ends the process where it says; without the test's setting there is none."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from pipeline.kafka.fault_points import VARIABLE, Step, armed
from tests.fakes import RecordingTransactor

VERBS = ["begin", "send", "confirm", "commit_offsets", "commit"]


class Ended(Exception):
    """In place of the signal."""


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was killed, and with what; the one who did goes no further."""
    done = []

    def kill(pid: int, number: int) -> None:
        done.append((pid, number))
        raise Ended

    monkeypatch.setattr(os, "kill", kill)
    return done


def commits(n: int) -> RecordingTransactor:
    """A producer after so many commits, or after the fault point."""
    inner = RecordingTransactor()
    producer = armed(inner)
    try:
        for _ in range(n):
            producer.begin()
            producer.send(None, None)
            producer.confirm()
            producer.commit_offsets({}, None)
            producer.commit()
    except Ended:
        pass
    return inner


def test_without_the_setting_the_producer_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    producer = RecordingTransactor()
    assert armed(producer) is producer


@pytest.mark.parametrize(
    ("step", "n_done"),
    [(Step.BEFORE_BEGIN, 0), (Step.AFTER_SENDS, 3), (Step.AFTER_OFFSETS, 4), (Step.AFTER_COMMIT, 5)],
)
def test_it_ends_at_its_step_of_its_transaction(
    monkeypatch: pytest.MonkeyPatch, kills: list[tuple[int, int]], step: Step, n_done: int
) -> None:
    monkeypatch.setenv(VARIABLE, f"{step}@2")
    monkeypatch.setattr("tests.fakes.RecordingTransactor.send", lambda self, *_: self.calls.append("send"))
    assert commits(3).calls == [*VERBS, *VERBS[:n_done]]
    assert kills == [(os.getpid(), signal.SIGKILL)]


def test_in_the_middle_of_a_commit_it_ends_from_the_side(
    monkeypatch: pytest.MonkeyPatch, kills: list[tuple[int, int]]
) -> None:
    monkeypatch.setenv(VARIABLE, f"{Step.DURING_COMMIT}@2")
    monkeypatch.setattr("tests.fakes.RecordingTransactor.send", lambda self, *_: self.calls.append("send"))
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    before = set(threading.enumerate())
    commits(3)
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    assert kills == [(os.getpid(), signal.SIGKILL)]
