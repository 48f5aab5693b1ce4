"""A window of traffic is fit to set thresholds on, or refused; and is named and scored by its texts alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import DataRefused
from actors.learn import window as module
from actors.learn.labels import Columns, Labels, Sampling
from actors.learn.roles import Role
from actors.learn.sample import Sample
from actors.learn.window import Traffic, Window
from actors.pairs import PairTemplate, Part
from actors.rubric import SEVERE_OR_NOT
from tests.commands.learning import bundle
from tests.learn.labelled import labels, said, words


def test_a_window_of_traffic_is_read_or_refused(tmp_path, monkeypatch):
    path = tmp_path / "traffic.parquet"

    def write(n, **more):
        pq.write_table(pa.table({"query": [f"q {i}" for i in range(n)], "document": ["d"] * n} | more), path)
        return path

    assert len(Traffic.read(write(100), Columns()).pairs) == 100
    with pytest.raises(DataRefused, match=r"1 pairs; a window .* needs 100 or more"):
        Traffic.read(write(1), Columns())
    monkeypatch.setattr(module, "MOST_QUERIES", 99)
    with pytest.raises(DataRefused, match="100 distinct queries"):
        Traffic.read(write(100), Columns())
    assert Traffic.read(write(100, of=["c"] * 100), Columns(cluster="of")).pairs[0].cluster == "c"


def test_the_roles_that_prove_nothing_are_a_window_but_for_what_a_score_chose():
    found = labels(words(60))
    chosen = {place for place in range(len(found.pairs)) if place % 6 == 0}
    rows = tuple(
        replace(row, sampling=Sampling.BY_SCORE) if row.pair in chosen else row for row in found.rows
    )
    sample = Sample.of(found, PairTemplate())
    of = replace(sample, labels=Labels(SEVERE_OR_NOT, found.pairs, rows))

    free = [i for i in np.flatnonzero(np.isin(of.role, [Role.DEV, Role.MAP])) if i not in chosen]
    assert list(Traffic.of(of, "labels").pairs) == [found.pairs[i] for i in free]


def test_equal_windows_have_equal_names_in_whatever_order():
    pairs = labels(words(9)).pairs
    template, other = PairTemplate(), PairTemplate(query=(Part("text", "Query: "),))
    name = Traffic(pairs, "one").name(template)

    assert Traffic(pairs[::-1], "other").name(template) == name
    assert Traffic(pairs[1:], "one").name(template) != name
    assert Traffic(pairs, "one").name(other) != name


def test_a_window_is_scored_in_its_order_and_alike_queries_are_one_cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(module.apply, "logits", said)
    query = words(1)[0]
    pairs = labels([query, f"{query}s", *words(3, seed=1)], per_query=2).pairs
    window = Window.of(bundle(tmp_path), Traffic(pairs, "traffic"))

    assert window.logit.tolist() == [float(pair.document["text"]) for pair in pairs]
    assert len(set(window.cluster[:4])) == 1
    assert len(set(window.cluster)) == 4
