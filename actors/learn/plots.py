"""Pictures of bundles and of labels, as PNG.

Of a bundle: whether probabilities are right, where scores lie, what pruning more would cost. Of labels: how large
clusters are, and shares with their intervals. Promises equal bytes for equal arguments and versions, and touches
no global state of the library. Colours are told apart by people who see few of them. Needs the `train` extra.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from actors.learn.bootstrap import LEVEL, Estimate
from actors.learn.curve import Point
from actors.learn.reliability import Bin
from actors.policy import Policy

_SEVERE, _OTHER, _LINE = "#d55e00", "#0072b2", "#555555"  # Okabe and Ito's palette
_WIDTH_INCHES, _HEIGHT_INCHES = 5.0, 3.6
_DPI = 110
_BINS = 50
_LONGEST_NAME = 24


def reliability_plot(bins: Sequence[Bin]) -> bytes:
    """Found against stated probability, with intervals; on the diagonal what is stated comes true.

    Args:
        bins: Of `reliability.judge`, at least one.

    Returns:
        A PNG.
    """
    figure, axes = _axes("stated probability of a severe violation", "share found severe")
    stated = np.array([one.stated for one in bins])
    found, low, high = _ends([one.found for one in bins])
    most = _most(stated, found, high)
    axes.plot([0, most], [0, most], color=_LINE, linestyle="--", linewidth=1, label="as stated")
    axes.vlines(stated, low, high, color=_OTHER, linewidth=1.2, clip_on=False)
    said = f"equally many pairs each, {_interval([one.found for one in bins])}"
    axes.plot(stated, found, "o", color=_OTHER, markersize=5, clip_on=False, label=said)
    axes.set_xlim(0, most)
    axes.set_ylim(0, most)
    return _png(figure, legend=True)


def score_plot(logit: NDArray[np.float64], severe: NDArray[np.bool_], policy: Policy) -> bytes:
    """How the logits of severe pairs and of others lie, with the thresholds.

    Args:
        logit: Severity, float64 `[n]`, at least one.
        severe: Bool `[n]`.
        policy: Its thresholds; of one that is never reached the legend says so.

    Returns:
        A PNG.
    """
    figure, axes = _axes("logit: the higher, the worse", "pairs")
    edges = np.histogram_bin_edges(logit, _BINS).tolist()
    axes.hist(logit[~severe], edges, color=_OTHER, alpha=0.6, label="other pairs")
    axes.hist(logit[severe], edges, color=_SEVERE, alpha=0.6, label="severe pairs")
    for threshold, style, name in ((policy.review, ":", "review"), (policy.prune, "-", "prune")):
        if math.isfinite(threshold):
            said = f"{name} from {threshold:.2f}"
            axes.axvline(threshold, color=_LINE, linestyle=style, linewidth=1.2, label=said)
        else:
            axes.plot([], [], linestyle="", label=f"{name}: never")
    _whole(axes.yaxis)
    return _png(figure, legend=True)


def coverage_plot(points: Sequence[Point], policy: Policy) -> bytes:
    """Precision of the prune against the share pruned, if the threshold were moved: an estimate.

    Args:
        points: Of `curve.curve`, at least one.
        policy: Its threshold is marked where it is one of the points; a precision that it promises, or that was
            asked for in vain, is drawn as a line.

    Returns:
        A PNG.
    """
    figure, axes = _axes("share of pairs pruned", "precision of prune, capped")
    shares = [one.share for one in points]
    precision, low, high = _ends([one.precision for one in points])
    said = _interval([one.precision for one in points])
    axes.fill_between(shares, low, high, color=_SEVERE, alpha=0.2, linewidth=0, label=said)
    said = "if the threshold were moved"
    axes.plot(shares, precision, color=_SEVERE, linewidth=1.5, marker="o", markersize=2.5, label=said)
    for one in points:
        if one.threshold == policy.prune:
            said = f"prune from {policy.prune:.2f}: {one.share:.1%} pruned"
            axes.plot([one.share], [one.precision.value or 0.0], "D", color=_LINE, markersize=5, label=said)
    if not math.isfinite(policy.prune):
        axes.plot([], [], linestyle="", label="prune: never")
    if policy.guarantee is not None:
        _line(axes, policy.guarantee.target, f"promised: {policy.guarantee.target:g}")
    elif (policy.evidence or {}).get("target") is not None:
        asked = float((policy.evidence or {})["target"])
        _line(axes, asked, f"asked for, not promised: {asked:g}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    return _png(figure, legend=True)


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
    axes.set_xlim(sizes.min() - 1.5 * step, sizes.max() + 1.5 * step)
    _whole(axes.xaxis)
    _whole(axes.yaxis)
    return _png(figure)


def shares_plot(shares: Mapping[str, Estimate], what: str) -> bytes:
    """Shares under each other, with their intervals; those that are approximate are dotted.

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
            style = ":" if one.approximate else "-"
            axes.plot([one.low, one.high], [place, place], color=_LINE, linestyle=style, linewidth=1.4)
        if one.value is not None:
            axes.plot([one.value], [place], marker="o", color=_SEVERE, markersize=5, clip_on=False)
    names = [_drawable(name) for name in shares]
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, _most(*_ends([*shares.values()])))
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
    axes.hist(p_severe[~severe], edges, color=_OTHER, alpha=0.6, label="labelled not severe")
    axes.hist(p_severe[severe], edges, color=_SEVERE, alpha=0.6, label="labelled severe")
    _whole(axes.yaxis)
    return _png(figure, legend=True)


def _ends(estimates: Sequence[Estimate]) -> tuple[NDArray[np.float64], ...]:
    """Values, lower ends and upper ends, float64 `[n]` each; NaN where there is none."""
    rows = [(one.value, one.low, one.high) for one in estimates]
    return tuple(np.array(rows, np.float64).T)


def _most(*columns: NDArray[np.float64]) -> float:
    """Where an axis of shares ends, so that the largest of them is seen well."""
    return min(1.0, 1.1 * float(np.nanmax(np.concatenate(columns), initial=0.0)) + 0.01)


def _interval(estimates: Sequence[Estimate]) -> str:
    about = ", approximate" if any(one.approximate for one in estimates) else ""
    return f"{LEVEL:.0%} interval{about}"


def _whole(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def _line(axes: Axes, precision: float, said: str) -> None:
    axes.axhline(precision, color=_OTHER, linestyle="--", linewidth=1, label=said)


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


def _png(figure: Figure, *, legend: bool = False) -> bytes:
    if legend:  # above the axes, where it hides nothing
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
