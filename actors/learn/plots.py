"""Pictures of bundles and of labels, as PNG.

Of a bundle: whether probabilities are right, where scores lie, what pruning costs. Of labels: how large clusters
are, and shares with their intervals. Promises equal bytes for equal arguments and versions, and touches no global
state of the library. Colours are told apart by people who see few of them. Needs the `train` extra.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from actors.learn.bootstrap import Estimate
from actors.learn.reliability import Bin
from actors.policy import Policy

_SEVERE, _OTHER, _LINE = "#d55e00", "#0072b2", "#555555"  # Okabe and Ito's palette
_WIDTH_INCHES, _HEIGHT_INCHES = 5.0, 3.6
_DPI = 110
_BINS = 50
_LONGEST_NAME = 24


def reliability_plot(bins: Sequence[Bin]) -> bytes:
    """Found against stated probability; on the diagonal what is stated comes true.

    Args:
        bins: Of `reliability.judge`, at least one.

    Returns:
        A PNG.
    """
    figure, axes = _axes("stated probability of a severe violation", "share found severe")
    axes.plot([0, 1], [0, 1], color=_LINE, linestyle="--", linewidth=1)
    most = max(one.n for one in bins)
    axes.scatter(
        [one.stated for one in bins],
        [one.found for one in bins],
        s=[60 * one.n / most for one in bins],
        color=_OTHER,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return _png(figure)


def score_plot(logit: NDArray[np.float64], severe: NDArray[np.bool_], policy: Policy) -> bytes:
    """How the logits of severe pairs and of others lie, with the thresholds.

    Args:
        logit: Severity, float64 `[n]`, at least one.
        severe: Bool `[n]`.
        policy: Its thresholds; one that is never reached is not drawn.

    Returns:
        A PNG.
    """
    figure, axes = _axes("logit: the higher, the worse", "pairs")
    edges = np.histogram_bin_edges(logit, _BINS).tolist()
    axes.hist(logit[~severe], edges, color=_OTHER, alpha=0.6, label="other")
    axes.hist(logit[severe], edges, color=_SEVERE, alpha=0.6, label="severe")
    for threshold, style, name in ((policy.review, ":", "review"), (policy.prune, "-", "prune")):
        if math.isfinite(threshold):
            axes.axvline(
                threshold, color=_LINE, linestyle=style, linewidth=1.2, label=f"{name} from {threshold:.2f}"
            )
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def coverage_plot(logit: NDArray[np.float64], severe: NDArray[np.bool_], target: float | None) -> bytes:
    """Precision of the prune against the share pruned, if the threshold were moved: an estimate over pairs.

    Args:
        logit: Severity, float64 `[n]`, at least one.
        severe: Bool `[n]`.
        target: Precision that is promised, drawn as a line; None draws none.

    Returns:
        A PNG.
    """
    figure, axes = _axes("share of pairs pruned", "share of them severe")
    order = np.argsort(-logit, kind="stable")
    n = np.arange(1, len(order) + 1)
    last_of_tie = np.append(np.diff(logit[order]) != 0, True)
    axes.plot(
        (n / len(n))[last_of_tie], (np.cumsum(severe[order]) / n)[last_of_tie], color=_SEVERE, linewidth=1.5
    )
    axes.axhline(float(severe.mean()), color=_LINE, linestyle=":", linewidth=1, label="all pairs")
    if target is not None:
        axes.axhline(target, color=_OTHER, linestyle="--", linewidth=1, label=f"promised: {target:g}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def sizes_plot(sizes: NDArray[np.int64]) -> bytes:
    """How many clusters have how many pairs.

    Args:
        sizes: Pairs of each cluster, int64 `[n]`, at least one.

    Returns:
        A PNG.
    """
    figure, axes = _axes("pairs of a cluster", "clusters")
    step = int(np.ptp(sizes)) // _BINS + 1
    axes.hist(sizes, (np.arange(sizes.min(), sizes.max() + step + 1, step) - 0.5).tolist(), color=_OTHER)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return _png(figure)


def shares_plot(shares: Mapping[str, Estimate], what: str) -> bytes:
    """Shares under each other, with their intervals.

    Args:
        shares: By name, at least one; a name is cut, and `?` stands for a letter that the font lacks.
        what: What they are shares of.

    Returns:
        A PNG, the higher the more shares there are.
    """
    height = 1.0 + 0.28 * len(shares)
    figure, axes = _axes(what, "", height=height)
    for place, one in enumerate(shares.values()):
        if one.low is not None and one.high is not None:
            axes.plot([one.low, one.high], [place, place], color=_LINE, linewidth=1.2)
        if one.value is not None:
            axes.plot([one.value], [place], marker="o", color=_SEVERE, markersize=5, clip_on=False)
    names = [_drawable(name) for name in shares]
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    return _png(figure)


def probabilities_plot(p_severe: NDArray[np.float64], severe: NDArray[np.bool_]) -> bytes:
    """How the probabilities of pairs that are labelled severe and of others lie.

    Args:
        p_severe: Float64 `[n]`, at least one, from 0 to 1.
        severe: Bool `[n]`.

    Returns:
        A PNG.
    """
    figure, axes = _axes("stated probability of a severe level", "pairs")
    edges = np.linspace(0, 1, _BINS + 1).tolist()
    axes.hist(p_severe[~severe], edges, color=_OTHER, alpha=0.6, label="labelled other")
    axes.hist(p_severe[severe], edges, color=_SEVERE, alpha=0.6, label="labelled severe")
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def _drawable(name: str) -> str:
    font = get_font(findfont(FontProperties()))
    known = "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in name[:_LONGEST_NAME])
    return known if len(name) <= _LONGEST_NAME else known[:-1] + "…"


def _axes(x: str, y: str, height: float = _HEIGHT_INCHES) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
