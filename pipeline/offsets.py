"""Where a group stands in its input topic, and setting it to stand elsewhere: `sluice offsets`.

Promises: offsets are set only while no gate of the group runs, to places that exist, for all partitions at once,
and with the next run number, so that what is scored again is told from what was scored before. A gate that is
still set to the earlier run refuses to go on from there. The brake stays as it was.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pipeline.errors import GroupLive, PlaceRefused
from pipeline.kafka import group, topics
from pipeline.kafka.offsets import CommittedOffset
from pipeline.kafka.topics import Extent
from pipeline.note import Note
from pipeline.records import TopicPartition
from pipeline.settings import Settings


class Standing(NamedTuple):
    """Where a group stands in one partition."""

    committed: int | None
    """The next offset to read; None where nothing was committed."""
    note: Note
    """What was committed along with it."""
    extent: Extent

    @property
    def at(self) -> int:
        """The next offset to read, as a lag is counted: the earliest where nothing was committed."""
        return self.extent.earliest if self.committed is None else self.committed

    @property
    def lag(self) -> int:
        """Offsets that a read_committed reader may see and that are not committed."""
        return max(0, self.extent.last_stable - self.at)


class Target(NamedTuple):
    """Where to go."""

    kind: Literal["earliest", "latest", "offset", "time"]
    value: int = 0
    """The offset, or epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class Reset:
    """What a reset changes: all of it, or nothing."""

    run: int
    """The run number from here on."""
    before: Mapping[TopicPartition, Standing]
    after: Mapping[TopicPartition, int]
    """Where each partition will stand, those that are not moved too; less those that never were committed."""

    @property
    def moved(self) -> list[TopicPartition]:
        """The partitions that will stand elsewhere, in order."""
        return [source for source, at in sorted(self.after.items()) if at != self.before[source].committed]


def standings(settings: Settings) -> dict[TopicPartition, Standing]:
    """Where the group stands. Blocks for a few round trips; joins nothing.

    Args:
        settings: Of a gate of the group.

    Returns:
        One entry per partition of the input topic, in order.

    Raises:
        SettingsError: There is no such topic.
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us see.
        TransientError: Another error of the broker's.
    """
    topic = settings.topics.input
    extents = topics.extents(settings.kafka, topic)
    if not extents:
        raise settings.refuse("topics.input", f"there is no topic {topic!r}")
    found = topics.positions(settings.kafka, settings.gate.group, topic)
    return {
        source: Standing(at.offset if at else None, Note.read(at.note if at else ""), extent)
        for source, extent in sorted(extents.items())
        for at in (found.get(source),)
    }


def run_of(found: Mapping[TopicPartition, Standing]) -> int:
    """The run number that the group's gates have reached."""
    return max((one.note.run for one in found.values()), default=1)


def plan(settings: Settings, target: Target, partitions: Collection[int] = ()) -> Reset:
    """What a reset would change. Changes nothing.

    Args:
        settings: Of a gate of the group.
        target: Where to go.
        partitions: Which of them go there; none names all.

    Returns:
        The change, to be given to `apply`.

    Raises:
        PlaceRefused: There is no such partition, offset or time.
        GroupLive: A gate of the group runs.
        SettingsError: There is no such topic.
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us see.
        TransientError: Another error of the broker's.
    """
    if present := group.members(settings.kafka, settings.gate.group):
        raise GroupLive(settings.gate.group, ", ".join(present))
    before = standings(settings)
    chosen = [source for source in before if not partitions or source.partition in partitions]
    for number in sorted(set(partitions) - {source.partition for source in before}):
        raise PlaceRefused(f"partition {number}", f"{settings.topics.input} has 0 to {len(before) - 1}")
    stay = {source: one.committed for source, one in before.items() if one.committed is not None}
    after = stay | _places(settings, target, {source: before[source].extent for source in chosen})
    return Reset(max(run_of(before), settings.gate.run) + 1, before, after)


def apply(settings: Settings, reset: Reset) -> None:
    """Change it. Blocks until the group's coordinator has it.

    Args:
        settings: Those that it was planned with.
        reset: What to change.

    Raises:
        GroupLive: A gate of the group has started meanwhile; nothing was changed.
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us.
        TransientError: Another error of the broker's; doing it again is safe.
    """
    wanted = {
        source: CommittedOffset(at, str(reset.before[source].note._replace(run=reset.run)))
        for source, at in reset.after.items()
    }
    group.set_positions(settings.kafka, settings.gate.group, wanted)


def _places(
    settings: Settings, target: Target, extents: Mapping[TopicPartition, Extent]
) -> dict[TopicPartition, int]:
    match target.kind:
        case "earliest":
            return {source: extent.earliest for source, extent in extents.items()}
        case "latest":
            return {source: extent.last_stable for source, extent in extents.items()}
        case "offset":
            return {source: _held(source, extent, target.value) for source, extent in extents.items()}
        case "time":
            if target.value > time.time() * 1000:
                raise PlaceRefused("--to-time", "is yet to come; to skip what is waiting, use --to-latest")
            found = topics.offsets_at(settings.kafka, settings.topics.input, target.value)
            # Where nothing is as late, what comes next will be.
            return {
                source: extent.last_stable if (at := found.get(source)) is None else at
                for source, extent in extents.items()
            }


def _held(source: TopicPartition, extent: Extent, offset: int) -> int:
    """The offset, if a gate can go on from it."""
    if not extent.earliest <= offset <= extent.last_stable:
        problem = f"can be read from {extent.earliest} to {extent.last_stable}, and not from {offset}"
        raise PlaceRefused(str(source), problem)
    return offset
