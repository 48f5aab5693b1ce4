"""What the tests of labels in files are about: one row, its columns and its rubric."""

from __future__ import annotations

from actors.learn.labels import Columns
from actors.rubric import Rubric

RUBRIC = Rubric({"good": 1.0, "odd": 0.5, "bad": 0.0}, frozenset({"bad"}))
COLUMNS = Columns(
    query={"text": "q"},
    document={"title": "t", "brand": "b"},
    source="who",
    annotator="name",
    sampling="how",
    adjudicated="final",
    cluster="topic",
    segment="part",
)
ROW = {"q": "red kettle", "t": "Steel kettle", "b": None, "level": "good", "who": "human", "name": "a"}
ROW |= {"how": "random", "final": False, "topic": "kettles", "part": "kitchen"}
