"""What everything that calls itself a `GroupMember` owes to the keeper."""

from __future__ import annotations

import time

from pipeline.kafka.member import Assignment, Ends, GroupMember
from pipeline.records import TopicPartition


def assigned(member: GroupMember) -> Assignment:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assignment = member.poll(0.1)
        if assignment is not None and assignment.positions:
            return assignment
    raise AssertionError("nothing was assigned")


def test_owns_nothing_before_it_is_told(cluster):
    member = cluster.member()

    assert member.revoked
    assert member.end_offsets() == {}


def test_the_first_assignment_names_where_each_partition_begins(cluster):
    cluster.append([b"a", b"b"])
    member = cluster.member()

    assignment = assigned(member)

    other = TopicPartition(cluster.topic, 1)
    assert assignment.number >= 1
    assert assignment.positions == assignment.fresh == {cluster.source: 0, other: 0}
    assert member.end_offsets() == {cluster.source: Ends(2, 2), other: Ends(0, 0)}
    assert not member.revoked


def test_goes_on_from_what_was_committed_under_its_snapshot_with_its_note(cluster):
    member = cluster.member()
    assignment = assigned(member)
    transactor = cluster.transactor()
    transactor.init()
    transactor.begin()
    transactor.confirm()
    transactor.commit_offsets({cluster.source: 5}, assignment.group, note="as it was left")
    transactor.commit()
    member.close(leave=True)

    again = assigned(cluster.member())

    assert again.positions[cluster.source] == 5
    assert again.notes == {cluster.source: "as it was left"}
    assert again.fresh == {TopicPartition(cluster.topic, 1): 0}


def test_tells_a_change_once(cluster):
    member = cluster.member()
    assigned(member)

    assert [member.poll(0.01) for _ in range(3)] == [None] * 3


def test_can_be_closed_twice(cluster):
    member = cluster.member()
    member.close(leave=False)
    member.close(leave=True)
