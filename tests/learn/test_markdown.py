from __future__ import annotations

from actors.learn.markdown import code, plain, table

EVIL = "a | b\n# c ![x](http://example.org/y.png) `d` <b>"


def test_a_text_of_a_stranger_is_no_mark_up():
    assert plain(EVIL) == "a \\| b # c !\\[x\\](http://example.org/y.png) \\`d\\` \\<b\\>"


def test_code_ends_where_it_should():
    assert code(EVIL) == "`a \\| b # c ![x](http://example.org/y.png) 'd' <b>`"


def test_a_table_has_a_line_for_each_row_whatever_is_in_its_cells():
    shown = table(("what", "value"), [(plain("a | b"), "1\n2"), ("c", "")])

    assert shown.splitlines() == ["| what | value |", "| --- | --- |", "| a \\| b | 1 2 |", "| c |  |"]
