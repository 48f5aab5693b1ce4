"""`sluice offsets`: a replay is ordered while no gate runs, and carries the next run number."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import GroupLive, PlaceRefused, SettingsError
from pipeline.kafka import topics
from pipeline.kafka.group import set_positions
from pipeline.kafka.offsets import CommittedOffset
from pipeline.note import Note
from pipeline.records import TopicPartition
from pipeline.settings import Settings, load
from tests.small_gate import settle

if TYPE_CHECKING:
    from pipeline.kafka.embedded import EmbeddedKafka

pytestmark = pytest.mark.kafka

# A broker would delete records of long ago.
NOON = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
PARIS = timezone(timedelta(hours=1))
MORNING_MS, NOON_MS, TEATIME_MS = (round((NOON + timedelta(hours=h)).timestamp()) * 1000 for h in (-3, 0, 4))


def sluice(settings: list[str], *arguments: str):
    options = [part for one in settings for part in ("--set", one)]
    return CliRunner().invoke(app, ["offsets", *arguments, *options])


def done(said: Any) -> dict[str, Any]:
    """The report of a command that did its work."""
    assert said.exit_code == 0, said.output + repr(said.exception)
    report: dict[str, Any] = json.loads(said.stdout)
    return report


@pytest.fixture
def two(kafka: EmbeddedKafka, topic: Callable[..., str], sets: list[str]) -> list[str]:
    """The settings of a gate; its input has two partitions of six records: morning, noon and tea, two each."""
    name = topic(partitions=2, name="input")
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    for partition in (0, 1):
        for timestamp_ms in (MORNING_MS, MORNING_MS, NOON_MS, NOON_MS, TEATIME_MS, TEATIME_MS):
            producer.send(name, b"{}", partition=partition, timestamp_ms=timestamp_ms)
    producer.flush(timeout=60)
    producer.close(timeout=5)
    return [*sets, f"topics.input={name}", f"gate.group=of-{name}"]


def commit(settings: Settings, *offsets: int, note: str = "") -> None:
    """Commit the first offsets of each partition, as a gate that has left."""
    at = {
        TopicPartition(settings.topics.input, number): CommittedOffset(offset, note)
        for number, offset in enumerate(offsets)
    }
    set_positions(settings.kafka, settings.gate.group, at)


def positions(settings: Settings) -> list[CommittedOffset]:
    found = topics.positions(settings.kafka, settings.gate.group, settings.topics.input)
    return [at for _, at in sorted(found.items())]


@pytest.fixture
def member(two: list[str]) -> Iterator[str]:
    """Somebody who is in the group, by name."""
    settings = load(None, two)
    name = f"{settings.gate.group}-gate-0"
    consumer = KafkaConsumer(
        settings.topics.input, **settings.kafka, group_id=settings.gate.group, group_instance_id=name
    )
    deadline = time.monotonic() + 90
    while not consumer.assignment() and time.monotonic() < deadline:
        consumer.poll(timeout_ms=200)
    yield name
    consumer.close(autocommit=False)


def test_what_a_group_has_committed_is_shown_with_its_run_and_its_brake(two: list[str]) -> None:
    settings = load(None, two)
    commit(settings, 4, note="sluice/1 braked run=3")

    report = done(sluice(two, "show", "--json"))

    assert report["group"] == settings.gate.group
    assert report["members"] == []
    assert report["run"] == 3
    assert report["partitions"] == {
        f"{settings.topics.input}[0]": {
            "committed": 4,
            "earliest": 0,
            "end": 6,
            "high_watermark": 6,
            "lag": 2,
            "braked": True,
            "run": 3,
        },
        f"{settings.topics.input}[1]": {
            "committed": None,
            "earliest": 0,
            "end": 6,
            "high_watermark": 6,
            "lag": 6,
            "braked": False,
            "run": 1,
        },
    }
    table = sluice(two, "show").stdout
    assert "none" in table
    assert "nobody" in table


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (("--to-earliest",), (0, 0)),
        (("--to-latest",), (6, 6)),
        (("--to-offset", "3"), (3, 3)),
        (("--to-offset", "3", "--partition", "1"), (4, 3)),
        (("--to-time", NOON.isoformat()), (2, 2)),
        (("--to-time", NOON.astimezone(PARIS).isoformat(), "--partition", "0"), (2, 5)),
        (("--to-time", (NOON + timedelta(hours=5)).isoformat()), (6, 6)),
    ],
)
def test_a_group_goes_on_from_where_it_was_told_with_the_next_run(
    two: list[str], where: tuple[str, ...], expected: tuple[int, int]
) -> None:
    settings = load(None, two)
    commit(settings, 4, 5)

    planned = done(sluice(two, "reset", *where, "--json", "--dry-run"))
    assert [at.offset for at in positions(settings)] == [4, 5], "that was a dry run"
    reset = done(sluice(two, "reset", *where, "--json"))

    assert reset == {**planned, "dry_run": False}
    assert reset["run"] == 2
    assert reset["reconcile"] == [f"0={expected[0]}", f"1={expected[1]}"]
    assert positions(settings) == [CommittedOffset(offset, "sluice/1 run=2") for offset in expected]


def test_the_run_number_rises_with_each_reset_and_the_brake_stays_as_it_was(two: list[str]) -> None:
    settings = load(None, two)
    commit(settings, 4, 5, note=str(Note(braked=True)))

    assert done(sluice([*two, "gate.run=4"], "reset", "--to-earliest", "--json"))["run"] == 5
    assert done(sluice(two, "reset", "--to-latest", "--json"))["run"] == 6

    assert {Note.read(at.note) for at in positions(settings)} == {Note(braked=True, run=6)}


def test_a_partition_that_is_not_moved_and_never_was_committed_stays_so(two: list[str]) -> None:
    settings = load(None, two)
    done(sluice(two, "reset", "--to-offset", "2", "--partition", "1", "--json"))
    found = topics.positions(settings.kafka, settings.gate.group, settings.topics.input)
    assert found == {TopicPartition(settings.topics.input, 1): CommittedOffset(2, "sluice/1 run=2")}


def test_a_person_is_told_what_moves_and_what_to_set(two: list[str]) -> None:
    commit(load(None, two), 4, 0)
    said = " ".join(sluice(two, "reset", "--to-offset", "1", "--dry-run").stdout.split())
    assert "would be 2: set gate.run: 2" in said
    assert "sluice reconcile --run 2 --start 0=1 --start 1=1" in said
    assert "[1]" in said, "moving forward is a move, too"


def test_a_group_with_a_gate_in_it_is_left_as_it_is(two: list[str], member: str) -> None:
    settings = load(None, two)
    assert done(sluice(two, "show", "--json"))["members"][0].startswith(f"{member} on ")

    said = sluice(two, "reset", "--to-earliest")

    assert isinstance(said.exception, GroupLive)
    assert member in str(said.exception)
    assert positions(settings) == []


def test_a_gate_that_joins_while_offsets_are_being_set_keeps_them(two: list[str], request) -> None:
    from pipeline import offsets

    settings = load(None, two)
    planned = offsets.plan(settings, offsets.Target("earliest"))
    member = request.getfixturevalue("member")
    with pytest.raises(GroupLive, match=member):
        offsets.apply(settings, planned)
    assert positions(settings) == []


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        (("--to-offset", "7"), "can be read from 0 to 6, and not from 7"),
        (("--to-earliest", "--partition", "2"), "partition 2: .* has 0 to 1"),
        (("--to-time", "2999-01-01T00:00Z"), "yet to come"),
    ],
)
def test_a_place_that_there_is_not_is_refused(two: list[str], where: tuple[str, ...], problem: str) -> None:
    settings = load(None, two)
    commit(settings, 4, 5)
    said = sluice(two, "reset", *where)
    assert isinstance(said.exception, PlaceRefused)
    with pytest.raises(PlaceRefused, match=problem):
        raise said.exception
    assert [at.offset for at in positions(settings)] == [4, 5]


def test_a_topic_that_there_is_not_is_refused(sets: list[str]) -> None:
    for verb in (("show",), ("reset", "--to-earliest")):
        said = sluice([*sets, "topics.input=absent"], *verb)
        assert isinstance(said.exception, SettingsError)


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("--to-earliest", "--to-latest"),
        ("--to-offset", "0", "--to-time", "2025-11-26T12:00Z"),
        ("--to-offset", "-1"),
        ("--to-time", "noon"),
        ("--to-time", "2025-11-26T12:00"),
    ],
)
def test_a_call_that_names_no_place_or_two_is_wrong(wrong: tuple[str, ...]) -> None:
    assert sluice(["bundle=b", "kafka.bootstrap_servers=127.0.0.1:1"], "reset", *wrong).exit_code == 2


def test_the_accounts_of_a_replay_and_of_the_run_before_close_with_what_the_reset_printed(
    sets: list[str],
) -> None:
    run = CliRunner()
    options = [part for one in sets for part in ("--set", one)]
    assert run.invoke(app, ["produce", "--catalogue", "20", *options]).exit_code == 0
    settle(load(None, sets))
    reset = done(sluice(sets, "reset", "--to-offset", "5", "--json"))
    assert run.invoke(app, ["produce", "--catalogue", "7", *options]).exit_code == 0
    settle(load(None, sets), run=reset["run"], change=lambda outputs: outputs[5:])

    def account(number: int, *bounds: str) -> tuple[bool, int]:
        said = run.invoke(app, ["reconcile", "--json", "--run", str(number), *bounds, *options])
        report = json.loads(said.stdout)
        return report["closed"], report["candidates"]

    starts = [part for start in reset["reconcile"] for part in ("--start", start)]
    ends = [part for end in reset["reconcile_before"] for part in ("--end", end)]
    assert account(reset["run"], *starts) == (True, 22)
    assert account(reset["run"] - 1, *ends) == (True, 20)
    assert account(reset["run"] - 1) == (False, 27)
    settle(load(None, sets), run=reset["run"] - 1, change=lambda outputs: outputs[25:])  # as a zombie would
    assert account(reset["run"] - 1, *ends) == (False, 20)
