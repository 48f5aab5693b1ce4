"""What everything that calls itself a `Reader` owes to Prepare."""

from __future__ import annotations

import pytest

from pipeline.kafka.reader import RangeRead

ALL = {"max_records": 1_000, "max_bytes": 1 << 30}


@pytest.fixture
def filled(cluster):
    cluster.append([b"%d" % i for i in range(20)])
    return cluster


@pytest.mark.parametrize(("start", "end"), [(0, 20), (0, 1), (7, 13), (19, 20)])
def test_gives_the_range_and_nothing_else(filled, start, end):
    read = filled.reader().read(filled.source, start, end, **ALL)

    assert [(r.offset, r.value) for r in read.records] == [(i, b"%d" % i) for i in range(start, end)]
    assert (read.end, read.lost_until) == (end, None)


def test_gives_the_same_again(filled):
    reader = filled.reader()
    once = reader.read(filled.source, 3, 17, **ALL)

    assert reader.read(filled.source, 3, 17, **ALL) == once
    assert filled.reader().read(filled.source, 3, 17, **ALL) == once


@pytest.mark.parametrize(
    "caps", [{"max_records": 3, "max_bytes": 1 << 30}, {"max_records": 99, "max_bytes": 1}]
)
def test_a_range_read_in_parts_is_the_whole(filled, caps):
    reader, at, parts = filled.reader(), 0, []
    while at < 20:
        part = reader.read(filled.source, at, 20, **caps)
        assert part.end > at
        assert 1 <= len(part.records) <= caps["max_records"]
        parts += part.records
        at = part.end

    assert parts == reader.read(filled.source, 0, 20, **ALL).records


def test_what_is_gone_is_a_value(filled):
    filled.forget_before(5)

    assert filled.reader().read(filled.source, 2, 20, **ALL) == RangeRead([], 5, lost_until=5)
