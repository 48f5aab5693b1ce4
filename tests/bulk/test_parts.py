"""Work is cut the same way each time, and every row is in one part."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.bulk.parts import Ceilings, Part, RowGroup, first, numbered, of_groups, without

GROUPS = st.lists(st.builds(RowGroup, st.integers(0, 50), st.integers(0, 5_000)), max_size=12)


def cut(*sizes: int, rows: int, n_bytes: int = 1 << 30):
    groups = [RowGroup(size, 10 * size) for size in sizes]
    return list(numbered(of_groups("f", groups, Ceilings(rows, n_bytes))))


@given(GROUPS, st.integers(1, 40), st.integers(1, 10_000))
def test_every_row_is_in_one_part_and_no_part_is_too_large(groups, rows, n_bytes) -> None:
    stretches = list(numbered(of_groups("f", groups, Ceilings(rows, n_bytes))))
    parts = [part for stretch in stretches for part in stretch.parts]
    assert [part.number for part in parts] == list(range(len(parts)))
    assert sum(part.n_rows for part in parts) == sum(group.n_rows for group in groups)
    assert all(one.first + one.n_rows == other.first for one, other in pairwise(parts))
    assert all(1 <= part.n_rows <= rows for part in parts)
    for stretch in stretches:
        covered = sum(group.n_rows for group in groups[stretch.start : stretch.stop])
        assert sum(part.n_rows for part in stretch.parts) == covered


def test_small_row_groups_share_a_part_and_a_large_one_is_several() -> None:
    small, large, last = cut(10, 20, 0, 250, 5, rows=100)
    assert (small.start, small.stop, [part.n_rows for part in small.parts]) == (0, 3, [30])
    assert (large.start, large.stop, [part.n_rows for part in large.parts]) == (3, 4, [100, 100, 50])
    assert last.parts == (Part(4, "f", 280, 5),)


def test_long_rows_make_smaller_parts() -> None:
    (stretch,) = cut(100, rows=100, n_bytes=300)  # ten bytes a row
    assert [part.n_rows for part in stretch.parts] == [30, 30, 30, 10]


def test_what_is_done_is_read_over_or_left_out() -> None:
    stretches = cut(30, 250, rows=100)
    (rest,) = without(stretches, frozenset({0, 2}))
    assert [part.number for part in rest.parts] == [1, 2, 3]
    assert [part.number for part in rest.wanted] == [1, 3]
    assert not without(stretches, frozenset(range(4)))


def test_the_first_parts_are_those_that_come_first_and_are_not_done() -> None:
    rest = without(cut(30, 250, 120, rows=100), frozenset({0, 2}))
    chosen = first(rest, 3)
    assert [part.number for stretch in chosen for part in stretch.wanted] == [1, 3, 4]
    left = without(rest, frozenset({1, 3, 4}))
    assert [part.number for stretch in left for part in stretch.wanted] == [5]
    assert [part.number for stretch in first(rest, 99) for part in stretch.wanted] == [1, 3, 4, 5]
