from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import DataRefused
from actors.learn.labels import Columns, Sampling, Source
from actors.learn.reading import read_labels, read_pairs, read_probabilities
from actors.rubric import Rubric
from pipeline.candidate_files import Columns as CandidateColumns
from pipeline.candidate_files import row_of
from tests.learn.label_files import COLUMNS, RUBRIC


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_parquet_and_json_lines_say_the_same(written, kind):
    labels = read_labels(written({}, {"t": "Lamp", "level": "bad", "b": "Lumo"}, kind=kind), COLUMNS, RUBRIC)

    assert [pair.document for pair in labels.pairs] == [
        {"title": "Steel kettle"},
        {"title": "Lamp", "brand": "Lumo"},
    ]
    assert [row.p_severe for row in labels.rows] == [0.0, 1.0]
    assert (labels.pairs[0].cluster, labels.pairs[0].segment) == ("kettles", "kitchen")
    assert (labels.rows[0].source, labels.rows[0].sampling) == (Source.HUMAN, Sampling.RANDOM)


def test_equal_texts_are_one_pair_whoever_labels_them(written):
    labels = read_labels(written({}, {"name": "b", "level": "bad"}, {"t": "Lamp"}), COLUMNS, RUBRIC)

    assert len(labels.pairs) == 2
    assert [row.pair for row in labels.rows] == [0, 0, 1]


def test_a_probability_stands_where_there_is_no_level(written):
    columns = replace(COLUMNS, p_severe="p")
    labels = read_labels(
        written({"p": None}, {"t": "Lamp", "level": None, "p": 0.8, "who": "judge"}), columns, RUBRIC
    )

    assert [row.p_severe for row in labels.rows] == [0.0, 0.8]
    assert labels.rows[1].level is None


def test_the_last_word_is_that_of_the_latest_time_however_the_rows_are_ordered(written):
    """And what says to which pair a row of a file belongs stays in its place."""
    rows = [
        {"level": "bad", "at": "2026-01-02T00:30:00+01:00", "p": 0.2},
        {"t": "Lamp", "level": "bad", "at": None, "p": 0.8},
        {"level": "good", "at": "2026-01-01T23:00:00Z", "p": 0.4},
        {"level": "odd", "at": None, "p": 0.6},
    ]
    for kind in ("parquet", "jsonl"):
        files = written(*rows, kind=kind)
        labels = read_labels(files, replace(COLUMNS, time="at"), RUBRIC)

        assert [row.level for row in labels.rows if row.pair == 0] == ["odd", "good", "bad"]
        assert labels.rows[-1].time == "2026-01-01T23:30:00.000000+00:00"
        assert labels.settled.severe.tolist() == [True, True]
        assert read_labels(files, COLUMNS, RUBRIC).settled.severe.tolist() == [False, True]
        np.testing.assert_allclose(read_probabilities(files, "p", labels), [0.4, 0.8])


def test_what_a_judge_gives_to_the_levels_is_summed_over_the_severe_ones(written):
    columns = replace(COLUMNS, levels={"bad": "p_bad", "good": "p_good", "odd": "p_odd"})
    nothing = dict.fromkeys(columns.levels.values())
    said = {"level": None, "who": "judge", "t": "Lamp", "p_bad": 0.7, "p_good": 0.1, "p_odd": 0.2004}
    labels = read_labels(written(nothing, said), columns, RUBRIC)

    assert labels.rows[0].level == "good"
    assert labels.rows[1].level is None
    assert labels.rows[1].p_severe == pytest.approx(0.7, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "levels", "text"),
    [
        ({"p_good": 0.5}, {}, "sum to 1.2, not to 1: bad 0.7, good 0.5"),
        ({"p_good": None}, {}, "level good: None is no probability of it, from 0 to 1"),
        ({"p_good": 1.3}, {}, "level good: 1.3 is no probability"),
        ({}, {"awful": "p_bad"}, "columns.levels: unknown level 'awful'; the rubric has good, odd, bad"),
        ({}, {"odd": "p_odd"}, "no column p_odd"),
    ],
)
def test_a_distribution_that_is_none_is_refused_in_one_line(written, change, levels, text):
    columns = replace(COLUMNS, levels={"bad": "p_bad", "good": "p_good"} | levels)
    rows = written({"p_bad": None, "p_good": None}, {"level": None, "p_bad": 0.7, "p_good": 0.3} | change)
    with pytest.raises(DataRefused) as refusal:
        read_labels(rows, columns, RUBRIC)

    assert text in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("time", ["1767225600", "0001-01-01T00:00:00+01:00"])
def test_a_time_that_is_none_is_refused(written, time):
    with pytest.raises(DataRefused) as refusal:
        read_labels(written({"at": time}), replace(COLUMNS, time="at"), RUBRIC)
    assert "row 1" in str(refusal.value)
    assert "is no time; write it as 2026" in str(refusal.value)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_number_is_no_time(written, kind):
    """1706101231234, a moment of 2024 in milliseconds, was read as 12:34 of a day of the year 1706."""
    with pytest.raises(DataRefused, match="row 1: 1706101231234 is a number and no time; write it as 2026"):
        read_labels(written({"at": 1706101231234}, kind=kind), replace(COLUMNS, time="at"), RUBRIC)
    rows = {"at": float("nan")}, {"q": "blue kettle", "level": "bad", "at": float("nan")}
    found = read_labels(written(*rows), replace(COLUMNS, time="at"), RUBRIC)
    assert {row.time for row in found.rows} == {None}


def test_a_text_of_json_lines_that_looks_like_a_time_stays_as_it_was_written(written):
    """Whoever is served reads 2024-01-01; the encoder learned 2024-01-01 00:00:00, and times moved to UTC."""
    rows = [
        {"q": "2024-01-01T10:00:00+02:00", "t": "2024-01-01", "b": ["2024-01-01"], "part": "2024-01-01"},
        {"q": "2024-01-01T10:00:00+02:00", "t": "2024-02-01", "b": [], "part": None, "level": "bad"},
    ]
    first = read_labels(written(*rows, kind="jsonl"), COLUMNS, RUBRIC).pairs[0]
    assert first.query == {"text": "2024-01-01T10:00:00+02:00"}
    assert first.document == {"title": "2024-01-01", "brand": "2024-01-01"}
    assert first.segment == "2024-01-01"


@pytest.mark.parametrize("zone", ["Mars/Base", None])
def test_a_value_that_python_cannot_hold_is_refused_in_one_line(written, zone):
    """A zone that is none, and a year beyond 9999, came up as tracebacks."""
    table = pq.read_table(path := written({})[0])
    time = pa.array([9 * 10**17], pa.timestamp("us", zone))
    pq.write_table(table.append_column("at", time), path)
    with pytest.raises(DataRefused, match=r"a value cannot be read: .*; write times as text") as refusal:
        read_labels([path], replace(COLUMNS, time="at"), RUBRIC)
    assert "\n" not in str(refusal.value)


def test_a_name_of_a_column_that_is_no_utf_8_is_refused_in_one_line(written):
    """It came up as a traceback."""
    path = written({}, kind="jsonl")[0]
    path.write_bytes(path.read_bytes().replace(b'"part"', b'"p\xffrt"'))
    with pytest.raises(DataRefused, match="cannot be read: 'utf-8' codec can't decode"):
        read_labels([path], COLUMNS, RUBRIC)


def test_a_whole_number_says_the_same_in_a_column_with_gaps(written, tmp_path):
    """Person 7 of one file was 7.0 in another, and spoke twice of one pair; a cluster had two roles."""
    first = written({"name": 7, "topic": 1})[0].rename(tmp_path / "first.parquet")
    rows = {"name": 7.0, "topic": 1.0, "level": "bad"}, {"q": "pan", "name": None, "topic": 2.5}
    found = read_labels([first, *written(*rows)], COLUMNS, RUBRIC)
    assert [row.annotator for row in found.rows] == ["7", "7", ""]
    assert [pair.cluster for pair in found.pairs] == ["1", "2.5"]


def test_a_pair_in_two_clusters_is_refused(written):
    """The second was forgotten, so that what is alike by its word could train in one and be judged in another."""
    with pytest.raises(
        DataRefused, match="row 2: its pair is in cluster 'pans', and in 'kettles' in an earlier"
    ):
        read_labels(written({}, {"name": "b", "topic": "pans", "level": "bad"}), COLUMNS, RUBRIC)


def test_a_list_of_segments_is_a_path(written):
    labels = read_labels(
        written({"part": ["kitchen", "kettles"]}, {"t": "Lamp", "level": "bad", "part": []}), COLUMNS, RUBRIC
    )
    assert [pair.segment for pair in labels.pairs] == ["kitchen > kettles", None]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([{}, {"level": "awful"}], "row 2: unknown level 'awful'; the rubric has good, odd, bad"),
        ([{"level": None}], "no level, and None is no probability"),
        ([{"t": "  ", "b": ""}], "row 1: no text on the document side (columns t, b)"),
        ([{"q": None}], "no text on the query side"),
        ([{"who": "oracle"}], "'oracle' is none of human, judge, weak"),
        ([{"how": "luck"}], "'luck' is none of random, by_score"),
        ([{}, {"t": "Lamp"}], "every label is not severe; both kinds are needed (severe levels: bad)"),
        ([{"level": "bad"}], "every label is severe"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line_that_says_where(written, changes, text):
    with pytest.raises(DataRefused) as refusal:
        read_labels(written(*changes), COLUMNS, RUBRIC)

    assert text in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("said", "settles"),
    [("false", False), ("True", True), (0.0, False), (1, True), (None, False), ("", False), ("maybe", None)],
)
def test_a_row_settles_its_pair_where_it_says_so_in_whatever_type(written, said, settles):
    """The text "false" was taken for true, and whoever wrote the last row outvoted all others."""
    paths = written({"final": said}, {"q": "blue kettle", "level": "bad", "final": said})
    if settles is None:
        with pytest.raises(DataRefused, match=r"row 1: 'maybe' does not say whether .* write true or false"):
            read_labels(paths, COLUMNS, RUBRIC)
    else:
        found = read_labels(paths, COLUMNS, RUBRIC)
        assert [row.adjudicated for row in found.rows] == [settles, settles]


def test_a_number_that_is_none_stands_for_a_text_that_is_not_there(written):
    """It was read as "nan": one annotator for all who had no name, one cluster for all who had none."""
    none = {"name": float("nan"), "topic": float("nan"), "part": float("nan"), "b": float("nan")}
    found = read_labels(written(none, {"q": "blue kettle", "level": "bad"} | none), COLUMNS, RUBRIC)
    assert {(pair.cluster, pair.segment) for pair in found.pairs} == {(None, None)}
    assert {tuple(pair.document) for pair in found.pairs} == {("title",)}
    assert {row.annotator for row in found.rows} == {""}


def test_a_probability_of_one_half_is_not_severe_as_where_people_tie(written):
    columns, half = replace(COLUMNS, level=None, p_severe="p"), {"q": "blue kettle", "p": 0.5}
    assert len(read_labels(written(half, {"p": 0.9}), columns, RUBRIC).rows) == 2
    with pytest.raises(DataRefused, match="every label is not severe"):
        read_labels(written(half, {"p": 0.1}), columns, RUBRIC)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_probability_out_of_range_is_refused(written, p):
    with pytest.raises(DataRefused, match="from 0 to 1"):
        read_labels(written({"level": None, "p": p}), replace(COLUMNS, p_severe="p"), RUBRIC)


def test_a_missing_column_is_named_with_those_that_are_there(written):
    with pytest.raises(DataRefused, match="no column grade; map it to one of: q, t, b, level"):
        read_labels(written({}), replace(COLUMNS, level="grade"), RUBRIC)


def test_a_file_that_is_none_is_refused(tmp_path):
    for name, content in {"a.parquet": "x", "a.jsonl": "{", "a.csv": "q,t"}.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(DataRefused, match=name):
            read_labels([tmp_path / name], COLUMNS, RUBRIC)
    (tmp_path / "many.parquet").mkdir()
    for name, said in {"absent.parquet": "no such file", "many.parquet": "a folder; name the files"}.items():
        with pytest.raises(DataRefused, match=f"{name}: .*{said}"):
            read_labels([tmp_path / name], COLUMNS, RUBRIC)


def test_a_text_that_is_no_utf_8_is_refused_in_one_line(written, tmp_path):
    """It came up as a traceback, of whichever row was looked at first."""
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(written({}, kind="jsonl")[0].read_bytes().replace(b"kettle", b"\xffettle"))
    table = pq.read_table(written({})[0])
    offsets, letters = (pa.py_buffer(content) for content in (b"\0\0\0\0\1\0\0\0", b"\xff"))
    broken = pa.StringArray.from_buffers(1, offsets, letters)
    pq.write_table(table.set_column(0, "q", broken), tmp_path / "table.parquet")

    for path in (lines, tmp_path / "table.parquet"):
        for read in (
            lambda path: read_labels([path], COLUMNS, RUBRIC),
            lambda path: read_pairs(path, COLUMNS),
        ):
            with pytest.raises(DataRefused, match=f"{path.name}: cannot be read: .*UTF8") as refusal:
                read(path)
            assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"Lamp", "binary"),
        ({"en": "Lamp"}, "struct<en: string>"),
        ([b"Lamp"], "list<(item|element): binary>"),
        ([{"en": "Lamp"}], "list<(item|element): struct<en: string>>"),
        (pa.scalar(b"Lamp", pa.binary(4)), r"fixed_size_binary\[4\]"),
    ],
)
def test_a_column_that_holds_no_text_is_refused(written, value, kind):
    """An encoder learned the text "b'Lamp'"."""
    with pytest.raises(DataRefused, match=f"column t holds {kind}; write it as text"):
        read_labels(written({"t": value}), COLUMNS, RUBRIC)


def test_a_list_of_texts_is_learned_as_it_is_served(written):
    """Commas were left out, and a null in the list was learned as the word "None"."""
    brands = ["Acme", None, "Lumo"]
    found = read_labels(written({"b": brands}, {"q": "lamp", "level": "bad", "b": []}), COLUMNS, RUBRIC).pairs
    served = row_of({"q": "lamp", "b": brands}, CandidateColumns((), ("q",), ("b", "t")), "here").document

    assert found[0].document["brand"] == served["b"] == "Acme, Lumo"
    assert found[1].document == {"title": "Steel kettle"}


def test_pairs_that_nobody_labelled_are_read_row_by_row_with_the_clusters_that_are_there(written, tmp_path):
    twice = read_pairs(written({"level": None, "who": "x"}, {})[0], COLUMNS)
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"q": "red kettle", "t": "Steel kettle", "b": null}\n')

    assert [pair.cluster for pair in twice] == ["kettles", "kettles"]
    assert read_pairs(bare, COLUMNS)[0].document == {"title": "Steel kettle"}
    assert read_pairs(bare, COLUMNS)[0].cluster is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"q": "red kettle", "t": "Steel kettle"}', "no column b; map it to one of: q, t"),
        ('{"q": " ", "t": "Steel kettle", "b": "Acme"}', "row 1: no text on the query side"),
    ],
)
def test_pairs_that_cannot_be_used_are_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "traffic.jsonl"
    path.write_text(content + "\n")
    with pytest.raises(DataRefused, match=said):
        read_pairs(path, COLUMNS)


def test_a_file_of_no_pair_is_refused(tmp_path):
    path = tmp_path / "traffic.parquet"
    pq.write_table(pa.table({name: pa.array([], pa.string()) for name in ("q", "t", "b")}), path)
    with pytest.raises(DataRefused, match="no pair in it"):
        read_pairs(path, COLUMNS)


def test_probabilities_beside_the_labels_are_read_for_each_pair(written):
    files = written(
        {"p": 0.2}, {"t": "Lamp", "level": "bad", "p": None}, {"name": "b", "p": 0.4}, {"t": "Pan", "p": 1}
    )
    labels = read_labels(files, COLUMNS, RUBRIC)

    np.testing.assert_allclose(read_probabilities(files, "p", labels), [0.3, np.nan, 1.0])


def test_probabilities_of_other_rows_than_those_of_the_labels_are_refused(written):
    """A file that had grown gave its probabilities to other pairs."""
    labels = read_labels(written({"p": 0.2}, {"t": "Lamp", "level": "bad", "p": 0.4}), COLUMNS, RUBRIC)
    with pytest.raises(DataRefused, match="was changed while it was read"):
        read_probabilities(written({"p": 0.9}, {"p": 0.2}, {"p": 0.4}), "p", labels)


def test_a_file_that_is_named_twice_is_refused(written):
    """People without a name count as many: one of them seemed to be two who agree."""
    paths = written({}, {"t": "Lamp", "level": "bad"})
    with pytest.raises(DataRefused, match=r"labels.parquet: is named twice"):
        read_labels([*paths, *paths], COLUMNS, RUBRIC)


def test_names_of_columns_are_shown_without_what_moves_a_cursor(written):
    with pytest.raises(DataRefused, match=r"map it to one of: .*, a b$") as refusal:
        read_labels(written({"a\x1b\nb": 1}), replace(COLUMNS, level="grade"), RUBRIC)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("p", [1.5, "much", float("nan")])
def test_what_is_no_probability_beside_the_labels_is_refused(written, p):
    files = written({"p": p, "level": "bad"}, {"t": "Lamp"})
    labels = read_labels(files, COLUMNS, RUBRIC)

    with pytest.raises(DataRefused, match=r"row 1: column p: .* is no probability"):
        read_probabilities(files, "p", labels)
    with pytest.raises(DataRefused, match="no column q2"):
        read_probabilities(files, "q2", labels)


def test_real_shopping_pairs_are_read_with_their_nulls_and_lists(shopping_pairs):
    document = {name: name for name in ("title", "brand", "color", "bullet_points", "category")}
    columns = Columns(query={"text": "query"}, document=document, level="esci_label", cluster="query_id")
    rubric = Rubric({"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}, frozenset({"I"}))
    labels = read_labels([shopping_pairs], columns, rubric)

    assert len(labels.rows) == 4887
    assert sum(row.p_severe for row in labels.rows) == 794
    assert len(labels.pairs) == 4876  # eleven products are listed twice, some with another label
    assert len({pair.cluster for pair in labels.pairs}) == 110
