"""What requests ask for, as candidates."""

from __future__ import annotations

from actors.pairs import PairTemplate, Part
from pipeline.records import Reason
from pipeline.serving.asked import asked_to_rank, read_all

NAMED = PairTemplate(query=(Part("theme"),), document=(Part("title"), Part("brand")))


def test_a_text_is_the_first_field_of_a_template_that_has_no_text() -> None:
    asked = asked_to_rank("boots", ["a boot", {"title": "b", "brand": None}], NAMED, name="texts")
    assert asked.candidates.query == [{"theme": "boots"}] * 2
    assert asked.candidates.document == [{"title": "a boot"}, {"title": "b"}]
    flat = asked_to_rank("boots", ["a boot"], PairTemplate(), name="texts")
    assert (flat.candidates.query, flat.candidates.document) == ([{"text": "boots"}], [{"text": "a boot"}])


def test_what_is_no_candidate_is_rejected_in_its_place() -> None:
    asked = read_all([{"candidate_id": "a"}, {"candidate_id": 3}, None])
    assert [one.reason for one in asked.rejected] == [
        Reason.MISSING_FIELD,
        Reason.MISSING_FIELD,
        Reason.WRONG_TYPE,
    ]
