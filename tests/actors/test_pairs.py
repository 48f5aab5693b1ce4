import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.pairs import Fault, PairTemplate, Part, Side, TextProblem

TEMPLATE = PairTemplate(
    query=(Part("text"), Part("theme", "Theme: ")),
    document=(Part("title"), Part("brand", "Brand: "), Part("text")),
    separator=" | ",
)

any_text = st.text(st.characters(exclude_categories=()))  # surrogates too: JSON can carry them
fields = st.dictionaries(st.sampled_from(["text", "theme", "title", "brand", "colour"]), any_text)


def compose(query, document, max_chars=100):
    return TEMPLATE.compose(query, document, max_chars=max_chars)


def test_parts_come_in_the_templates_order_each_behind_its_label():
    document = {"brand": "Acme", "title": "Kettle"}
    assert compose({"theme": "kitchen"}, document) == ("Theme: kitchen", "Kettle | Brand: Acme")


def test_a_flat_string_arrives_as_the_field_text():
    assert compose({"text": "kettles"}, {"text": "a kettle"}) == ("kettles", "a kettle")


def test_absent_blank_and_unknown_fields_leave_no_trace():
    document = {"title": "Kettle", "brand": " \t ", "colour": "red"}
    assert compose({"text": " kettles\n"}, document) == ("kettles", "Kettle")


def test_a_side_without_text_is_a_problem_and_the_query_is_told_first():
    assert compose({}, {}) == TextProblem(Side.QUERY, Fault.EMPTY, n_chars=0, max_chars=100)
    assert compose({"text": "a"}, {"colour": "red"}) == TextProblem(Side.DOCUMENT, Fault.EMPTY, 0, 100)


def test_a_text_may_be_as_long_as_the_limit_and_no_longer():
    assert compose({"text": "a" * 100}, {"text": "b"}) == ("a" * 100, "b")
    assert compose({"text": "a"}, {"text": "b" * 101}) == TextProblem(Side.DOCUMENT, Fault.TOO_LONG, 101, 100)


def test_half_of_a_surrogate_pair_is_a_problem_and_a_whole_character_is_none():
    assert compose({"text": "\ud83d"}, {"text": "b"}) == TextProblem(Side.QUERY, Fault.LONE_SURROGATE, 1, 100)
    assert compose({"text": "\U0001f600"}, {"text": "b"}) == ("\U0001f600", "b")


@pytest.mark.parametrize("fault", Fault)
def test_a_problem_describes_itself_without_quoting_the_data(fault):
    assert "document" in str(TextProblem(Side.DOCUMENT, fault, n_chars=120, max_chars=100))


@given(fields, fields, st.integers(0, 40))
def test_composing_never_raises_and_what_it_gives_can_be_tokenized(query, document, max_chars):
    composed = compose(query, document, max_chars)
    if not isinstance(composed, TextProblem):
        for text in composed:
            assert 0 < len(text) <= max_chars
            text.encode()


def test_a_template_survives_json():
    assert PairTemplate.from_json(json.loads(json.dumps(TEMPLATE.to_json()))) == TEMPLATE


@pytest.mark.parametrize("parts", [(), (Part("text"), Part("text", "again: "))])
def test_a_side_needs_parts_and_names_each_field_once(parts):
    with pytest.raises(ValueError, match="each field once"):
        PairTemplate(document=parts)
