from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.image
import pytest

from actors.learn.audit import audit
from actors.learn.audit_page import page
from actors.learn.labels import Source
from actors.learn.problems import Kind
from actors.learn.roles import Role
from tests.label_sets import by_judge, by_people, label, labels, pairs, sample

ALL_TRAIN = {role: float(role is Role.TRAIN) for role in Role}
EVIL = "<script>alert(1)</script> \"><img src=x onerror=alert(2)> {{ 7 * 7 }} '&amp;"


class Elements(HTMLParser):
    """What a browser would see."""

    def __init__(self):
        super().__init__()
        self.seen, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.text.append(data)


def read(text):
    elements = Elements()
    elements.feed(text)
    return elements


def audited(found, **options):
    return audit(found, sample(found, **options), source="labels.parquet")


def test_a_page_shows_every_part_and_needs_nothing_beside_it():
    of = pairs()
    found = labels(of, *by_people(of, "ann", "bob"), *by_judge(of, right=0.9))
    text = page(audited(found))
    elements = read(text)

    said = " ".join(elements.text)
    for part in (
        "Agreement of people",
        "Judges against people",
        "Duplicates",
        "Likely wrong labels",
        "Balance",
    ):
        assert part in said
    assert "Nothing stands in the way" in said
    assert "No row is dropped" in said
    assert "ann / bob" in said
    assert not {"script", "link", "iframe", "object", "form"} & set(elements.seen)
    sources = [value for tag, name, value in elements.attributes if name == "src"]
    assert len(sources) == 5
    assert all(value.startswith("data:image/png;base64,") for value in sources)
    assert "http" not in re.sub(r"http-equiv", "", text)
    for value in sources:
        assert matplotlib.image.imread(io.BytesIO(base64.b64decode(value.partition(",")[2]))).size


def test_every_section_is_found_from_the_top():
    of = pairs()
    elements = read(page(audited(labels(of, *by_people(of)))))
    targets = [value for _, name, value in elements.attributes if name == "href"]

    assert targets == [f"#{value}" for tag, name, value in elements.attributes if (tag, name) == ("h2", "id")]
    assert len(targets) == elements.seen.count("h2") == 7


def test_it_says_what_severe_means_and_of_whom_a_judge_knows():
    of = pairs()
    said = " ".join(read(page(audited(labels(of, *by_people(of), *by_judge(of, right=0.9))))).text)

    assert "Severe means the level\nbad." in said
    assert "bad (severe)" in said
    assert "1 of 1 can be held against" in said


def test_names_are_cut_to_a_line_and_cannot_turn_the_text_around():
    """Names of annotators were written as they are: a right-to-left override turned what followed."""
    of = pairs()
    said = page(audited(labels(of, *by_people(of, "\u202eann", "b" * 10_000))))

    assert "\u202e" not in said
    assert "b" * 200 not in said


def test_what_strangers_wrote_is_text_wherever_it_stands():
    of = [
        replace(one, query={"text": f"{EVIL} {one.query['text']}"}, document={"text": EVIL}, segment=EVIL)
        for one in pairs()
    ]
    rows = [label(i, "bad" if i % 3 == 0 else "good", who) for i in range(len(of)) for who in (EVIL, "bob")]
    rows += [label(i, "bad" if i % 2 else "good", f"{EVIL} judge", source=Source.JUDGE) for i in range(60)]
    rows += [label(i, "bad" if i % 2 else "good", "carl") for i in range(60)]
    clean = [label(i, "bad" if i % 3 == 0 else "good", "x") for i in range(len(of))]
    # The evil is most of each query, so that all are alike, and one cluster.
    evil = page(audited(labels(of, *rows), shares=ALL_TRAIN))
    plain = page(audited(labels(pairs(), *clean)))

    elements = read(evil)
    assert set(elements.seen) <= set(read(plain).seen) | {"div", "strong", "code", "br"}
    assert not [one for one in elements.attributes if one[1].startswith("on")]
    assert "<script>alert(1)</script>" in " ".join(elements.text)
    assert "{{ 7 * 7 }}" in " ".join(elements.text)


def test_what_stands_in_the_way_is_told_from_what_is_accepted():
    of = pairs()
    found = audited(labels(of, *by_judge(of)), shares=ALL_TRAIN)
    before, after = page(found), page(found.accepting([Kind.OVERLAP]))

    assert (before.count('class="stands"'), after.count('class="stands"')) == (2, 1)
    assert "(accepted)" in after
    assert "<code>--accept overlap</code> <code>--accept clusters</code>" in before
    assert "<code>--accept overlap</code>" not in after
    assert "What to do: let people label" in before
    assert "People have settled no pair." in before


@pytest.mark.parametrize("n_clusters", [1, 60])
def test_equal_audits_give_equal_pages(n_clusters):
    of = pairs(n_clusters)
    found = labels(of, *by_people(of))

    assert page(audited(found, shares=ALL_TRAIN)) == page(audited(found, shares=ALL_TRAIN))
