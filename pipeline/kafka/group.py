"""A consumer group from outside: who is in it, and setting what it has committed while nobody is.

For the command line. The broker itself refuses to set the offsets of a group that has members, so that a gate
which joins at the same moment is safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kafka as kafka_python
from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from pipeline.errors import GroupLive
from pipeline.kafka.admin import DEADLINE_S, ask
from pipeline.kafka.offsets import CommittedOffset
from pipeline.records import TopicPartition

_LIVE = (
    kafka_errors.UnknownMemberIdError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.RebalanceInProgressError,
)
"""What the coordinator answers to who sets offsets of a group that has members."""


def members(kafka: Mapping[str, Any], group: str, *, deadline_s: float = DEADLINE_S) -> list[str]:
    """Who is in the group, by the name that it goes by, and from where; nobody for a group that never was.

    A gate that was killed stays in it until its session has timed out.

    Args:
        kafka: Client settings, see `client.connection`.
        group: The consumer group.
        deadline_s: For how long, in seconds.

    Returns:
        Names in order.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us see.
        TransientError: Another error of the broker's.
    """

    def look(admin: KafkaAdminClient) -> list[str]:
        found = admin.describe_groups([group])[group]
        if found["error"] and found["group_state"] != "Dead":
            raise kafka_errors.CoordinatorNotAvailableError(found["error"])
        return sorted(
            f"{member['group_instance_id'] or member['member_id']} on {member['client_host'].lstrip('/')}"
            for member in found["members"]
        )

    return ask(kafka, look, deadline_s=deadline_s, doing=f"asking who is in {group}")


def set_positions(
    kafka: Mapping[str, Any],
    group: str,
    positions: Mapping[TopicPartition, CommittedOffset],
    *,
    deadline_s: float = DEADLINE_S,
) -> None:
    """Commit positions for a group that nobody is in. Blocks until the coordinator has them.

    Args:
        kafka: Client settings, see `client.connection`.
        group: The consumer group.
        positions: Offset and note by partition.
        deadline_s: For how long, in seconds.

    Raises:
        GroupLive: Somebody is in it; nothing was changed.
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us.
        TransientError: Another error of the broker's; doing it again is safe.
    """
    wanted = {
        kafka_python.TopicPartition(*source): kafka_python.OffsetAndMetadata(at.offset, at.note, -1)
        for source, at in positions.items()
    }

    def order(admin: KafkaAdminClient) -> bool:
        answers = admin.alter_group_offsets(group, wanted)
        errors = [error for error in answers.values() if error is not kafka_errors.NoError]
        if any(issubclass(error, _LIVE) for error in errors):
            return False
        if errors:
            raise errors[0]
        return True

    if not ask(kafka, order, deadline_s=deadline_s, doing=f"setting the offsets of {group}"):
        raise GroupLive(group, ", ".join(members(kafka, group, deadline_s=deadline_s)))
