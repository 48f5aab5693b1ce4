"""What a static member has to ask the group, because kafka-python 3.0.12 does not tell it.

A static member that was fenced stops its heartbeat silently; it never leaves the group when it closes;
and one that restarts as the group's leader keeps an assignment that overlooks new partitions. It knows the
group's list of members, and nothing of offsets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove

from pipeline.errors import Fenced, TransientError
from pipeline.kafka.client import open_client, translated

logger = logging.getLogger(__name__)


class Roster:
    """The group's list of members, as the coordinator has it.

    Args:
        kafka: Client settings, see `client.connection`.
        group: The consumer group.
        topic: What it consumes.
        instance: Name of this gate within the group.
    """

    def __init__(self, kafka: Mapping[str, Any], *, group: str, topic: str, instance: str) -> None:
        self._group = group
        self._topic = topic
        self.instance_id = f"{group}-{instance}"
        self._asked_at = time.monotonic()
        self._admin: KafkaAdminClient = open_client(KafkaAdminClient, kafka)

    def due(self, every_s: float) -> bool:
        """Whether it is time to ask again; if so, the clock starts anew."""
        now = time.monotonic()
        if now - self._asked_at < every_s:
            return False
        self._asked_at = now
        return True

    def overlooks_partitions(self, *, member_id: str) -> bool:
        """Whether the settled group, this member in it, leaves partitions of the topic to nobody.

        Args:
            member_id: This member's id in the current generation.

        Returns:
            True if fewer partitions are owned than there are.

        Raises:
            Fenced: Another one goes by this instance's name.
            TransientError: The coordinator does not answer; ask again later.
        """
        with translated("asking who is in the group"):
            description = self._admin.describe_groups([self._group])[self._group]
            [topic] = self._admin.describe_topics([self._topic])
        if description["group_state"] != "Stable":
            return False
        members = description["members"]
        ours = [m for m in members if m["group_instance_id"] == self.instance_id]
        if ours and ours[0]["member_id"] != member_id:
            raise Fenced(self.instance_id)
        owned = sum(_n_owned(member, self._topic) for member in members)
        return bool(ours) and owned < len(topic["partitions"])

    def leave(self) -> None:
        """Take this member off the list; not being able to is logged, and the session time-out does it."""
        try:
            with translated("leaving the group"):
                self._admin.remove_group_members(
                    self._group, [MemberToRemove(group_instance_id=self.instance_id)]
                )
        except TransientError as error:
            logger.warning("%s stays in the group until its session ends: %s", self.instance_id, error)

    def close(self) -> None:
        """Let go of the connection."""
        self._admin.close()


def _n_owned(member: Mapping[str, Any], topic: str) -> int:
    """How many partitions of the topic a member has been given."""
    assignment = member["member_assignment"] or {"assigned_partitions": []}
    return sum(
        len(entry["partitions"]) for entry in assignment["assigned_partitions"] if entry["topic"] == topic
    )
