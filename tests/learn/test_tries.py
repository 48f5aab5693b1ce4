"""No more is tried on the same labels than was planned, whoever writes at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from actors.errors import DataRefused, TriesSpent
from actors.learn.threshold import Wish
from actors.learn.tries import Try, begin, check, n_made, scores_as
from actors.policy import Policy
from tests.model_folders import plain_manifest

WISH = Wish(0.95, 0.95, 0.05, n_tries=2)


def attempt(weights="sha256:a", n_clusters=10, wish=WISH, traffic="sha256:t"):
    return Try.of(weights, wish, map(str, range(n_clusters)), traffic)


def test_a_try_beyond_the_plan_is_refused_in_one_line_and_not_recorded(tmp_path):
    record = tmp_path / "tries.jsonl"
    begin(record, attempt("sha256:a"))
    assert n_made(begin(record, attempt("sha256:b"))) == 2
    before = record.read_bytes()

    with pytest.raises(TriesSpent, match="fresh sample") as caught:
        begin(record, attempt("sha256:c"))

    assert "\n" not in str(caught.value)
    assert record.read_bytes() == before


def test_tries_of_two_plans_do_not_add_up(tmp_path):
    """A try of five that a bundle told of, beside three of three on record: 1.4 times the stated chance."""
    record, five = tmp_path / "tries.jsonl", Wish(0.95, 0.95, 0.05, n_tries=5)
    begin(record, attempt("sha256:b"))
    before = record.read_bytes()
    for wish in (WISH, five):
        for look in (check, begin):
            with pytest.raises(DataRefused, match="planned to be 2 and 5 in all, which do not add up"):
                look(record, attempt("sha256:c", wish=wish), [attempt("sha256:a", wish=five)])
    assert record.read_bytes() == before


def test_another_target_is_another_try(tmp_path):
    record = tmp_path / "tries.jsonl"
    begin(record, attempt())

    assert n_made(begin(record, attempt(wish=Wish(0.9, 0.95, 0.05, n_tries=2)))) == 2


def test_the_same_try_on_more_labels_is_the_same_try_and_on_fewer_another(tmp_path):
    record = tmp_path / "tries.jsonl"
    for n_clusters in (10, 10, 20, 40, 20):
        made = begin(record, attempt(n_clusters=n_clusters))
    assert (len(made), n_made(made)) == (3, 1)

    assert n_made(begin(record, attempt(n_clusters=30))) == 2
    with pytest.raises(TriesSpent):
        begin(record, attempt(n_clusters=5))


def test_a_cluster_that_says_something_else_makes_it_another_try(tmp_path):
    record = tmp_path / "tries.jsonl"
    begin(record, attempt())
    changed = Try.of("sha256:a", WISH, ["0, settled anew", *map(str, range(1, 30))], "sha256:t")

    assert n_made(begin(record, changed)) == 2
    with pytest.raises(TriesSpent):
        begin(record, replace(changed, clusters=[*map(str, range(1, 30))]))


def test_another_window_of_traffic_gives_other_thresholds_and_is_another_try(tmp_path):
    record = tmp_path / "tries.jsonl"
    begin(record, attempt())

    assert n_made(begin(record, attempt(traffic="sha256:u"))) == 2


def test_tries_that_a_bundle_tells_of_count_with_a_record_and_without(tmp_path):
    record = tmp_path / "tries.jsonl"
    known = (attempt("sha256:a"),)

    for path in (None, record):
        made = begin(path, attempt("sha256:b"), known)
        assert [one.weights for one in made] == ["sha256:a", "sha256:b"]
    with pytest.raises(TriesSpent):
        begin(None, attempt("sha256:c"), made)
    with pytest.raises(TriesSpent):
        begin(record, attempt("sha256:c"))
    assert len(begin(record, attempt("sha256:b"), known)) == 2
    assert len(record.read_text().splitlines()) == 2


def test_a_check_refuses_what_would_be_refused_and_writes_nothing(tmp_path):
    record = tmp_path / "tries.jsonl"
    check(record, attempt())
    assert not record.exists()
    begin(record, attempt("sha256:a"))
    begin(record, attempt("sha256:b"))
    before = record.read_bytes()

    check(record, attempt("sha256:b"))
    with pytest.raises(TriesSpent):
        check(record, attempt("sha256:c"))
    with pytest.raises(TriesSpent):
        check(None, attempt("sha256:c"), begin(record, attempt("sha256:a")))
    with pytest.raises(DataRefused, match="cannot keep"):
        check(tmp_path, attempt())
    assert record.read_bytes() == before


def test_thresholds_stay_those_of_the_first_look_as_labels_come_in(tmp_path):
    record = tmp_path / "tries.jsonl"
    first, second = (replace(attempt(n_clusters=n), thresholds=[float(n)]) for n in (10, 20))
    begin(record, first)

    assert list(second.thresholds_among(begin(record, second))) == [10.0]
    other = replace(attempt(traffic="sha256:u"), thresholds=[5.0])
    assert list(other.thresholds_among(begin(record, other))) == [5.0]


def test_the_plan_is_settled_before_the_first_try(tmp_path):
    record = tmp_path / "tries.jsonl"
    begin(record, attempt())

    with pytest.raises(DataRefused, match="2 tries were planned"):
        begin(record, attempt("sha256:b", wish=Wish(0.95, 0.95, 0.05, n_tries=9)))


def test_a_torn_last_line_is_cut_off(tmp_path):
    record = tmp_path / "tries.jsonl"
    begin(record, attempt("sha256:a"))
    whole = record.read_bytes()
    record.write_bytes(whole + whole[:25])

    assert n_made(begin(record, attempt("sha256:b"))) == 2
    assert len(record.read_bytes().splitlines()) == 2


def test_a_place_where_no_record_can_be_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent" / "tries.jsonl"):
        with pytest.raises(DataRefused, match="cannot keep the record"):
            begin(path, attempt())


def test_another_file_is_refused_and_kept(tmp_path):
    other = tmp_path / "weights.bin"
    other.write_bytes(b"no line ends here")

    with pytest.raises(DataRefused, match="no record of tries"):
        begin(other, attempt())
    assert other.read_bytes() == b"no line ends here"


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"weights": "sha256:a"}', "\xff"])
def test_a_line_that_is_no_try_is_refused(tmp_path, line):
    record = tmp_path / "tries.jsonl"
    record.write_text(line + "\n", encoding="latin-1")

    with pytest.raises(DataRefused, match="line 1 is no try"):
        begin(record, attempt())


def test_writers_at_once_do_not_exceed_the_plan(tmp_path):
    record = tmp_path / "tries.jsonl"

    def write(number):
        try:
            begin(record, attempt(f"sha256:{number}", wish=Wish(0.95, 0.95, 0.05, n_tries=5)))
        except TriesSpent:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(40))) == 5
    assert len(record.read_text().splitlines()) == 5


def test_what_scores_is_named_by_all_that_a_logit_depends_on():
    files = {
        "model.safetensors": "sha256:a",
        "prior.json": "sha256:b",
        "README.md": "sha256:c",
        "roles.json": "d",
    }
    manifest = plain_manifest(files=files)
    told = {"policy": Policy(2.0, 0.0, "other"), "name": "two", "files": files | {"README.md": "sha256:e"}}
    apart = ({"max_tokens": 64}, {"files": files | {"prior.json": "sha256:e"}})

    assert scores_as(replace(manifest, **told)) == scores_as(manifest)
    for change in apart:
        assert scores_as(replace(manifest, **change)) != scores_as(manifest)
