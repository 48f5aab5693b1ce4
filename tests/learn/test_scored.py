"""Scored pairs are read from Parquet, or refused in one line."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet
import pytest

from actors.errors import DataRefused
from actors.learn.scored import read_scored

SOUND = {"logit": [0.5, -1.0], "cluster": ["a", "b"], "severe": [True, False]}


def written(path, **columns):
    pa.parquet.write_table(pa.table(SOUND | columns), path)
    return path


def test_labels_and_traffic_are_read(tmp_path):
    path = written(tmp_path / "pairs.parquet", more=[1, 2])
    labelled, traffic = read_scored(path, labelled=True), read_scored(path, labelled=False)

    assert labelled.logit.tolist() == [0.5, -1.0]
    assert labelled.cluster.tolist() == ["a", "b"]
    assert labelled.severe.tolist() == [True, False]
    assert traffic.severe is None
    whole = written(tmp_path / "numbers.parquet", cluster=[4, 4], severe=[0, 1])
    assert read_scored(whole, labelled=True).severe.tolist() == [False, True]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"logit": [0.5, float("nan")]}, "logit: row 1 is not finite"),
        ({"logit": [0.5, None]}, "logit: 1 rows have no value"),
        ({"logit": ["a", "b"]}, "logit: values are string, and should be floats"),
        ({"cluster": [None, "a"]}, "cluster: 1 rows have no value"),
        ({"cluster": [[1], [2]]}, "cluster: values are list"),
        ({"severe": [True, None]}, "severe: 1 rows have no value"),
        ({"severe": [0, 2]}, "severe: values should be true and false"),
        ({"logit": pa.array([], pa.float64()), "cluster": pa.array([], pa.int64()), "severe": []}, "no row"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, columns, said):
    with pytest.raises(DataRefused, match=said) as caught:
        read_scored(written(tmp_path / "pairs.parquet", **columns), labelled=True)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named(tmp_path):
    path = tmp_path / "pairs.parquet"
    pa.parquet.write_table(pa.table({"logit": [0.5], "cluster": [1]}), path)

    with pytest.raises(DataRefused, match="no column 'severe'"):
        read_scored(path, labelled=True)
    assert len(read_scored(path, labelled=False).logit) == 1


def test_what_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "text").write_text("logit\n1\n")
    for path in (tmp_path / "text", tmp_path / "absent", tmp_path):
        with pytest.raises(DataRefused, match="cannot be read"):
            read_scored(path, labelled=False)
