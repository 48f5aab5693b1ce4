from __future__ import annotations

import pytest

from actors.learn.listing import LINE, Listed, one_line, show
from tests.label_sets import by_people, labels, pairs, query, sample


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a  kettle\nred\t", "a kettle red"),
        ("\x1b[31mred\x1b[0m \u202eback", "[31mred [0m back"),
        ("x" * 200, "x" * (LINE - 1) + "…"),
        ("\n" * 10_000 + "late", "…"),
        ("x" * LINE, "x" * LINE),
        ("half \ud83d", "half"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_a_text_is_shown_on_one_line_without_what_moves_a_cursor(text, line):
    assert one_line(text) == line


def test_a_pair_is_shown_with_the_beginning_of_its_texts():
    of = pairs()
    found = show(sample(labels(of, *by_people(of))), 7, "odd " * 200)

    assert (found.pair, found.query) == (7, query(1))
    assert found.document.startswith("thing 1x1 of")
    assert len(found.said) == 2 * LINE
    assert Listed(3, (found,)).to_json() == {"n": 3, "shown": [found.to_json()]}
