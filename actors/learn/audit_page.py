"""The audit as one page for people: HTML that needs nothing beside it.

Promises a page that loads nothing, runs nothing and holds every text escaped: labels come from strangers. Equal
audits give equal pages. Needs the `train` extra.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from actors.learn.audit import Audit
from actors.learn.labels import Source
from actors.learn.listing import LINE, one_line
from actors.learn.plots import probabilities_plot, shares_plot, sizes_plot

_TEMPLATE = "audit_page.html.jinja"
_MOST_JUDGES = 10
"""Judges that are shown."""


@dataclass(frozen=True, slots=True)
class _Plots:
    """PNGs in base64; empty where there is nothing to draw."""

    sizes: str
    suspected: str
    judges: tuple[str, ...]
    roles: str
    segments: str


def page(audit: Audit) -> str:
    """Write the page.

    Args:
        audit: What was found.

    Returns:
        HTML, to be written as UTF-8.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"count": "{:,}".format, "line": partial(one_line, most=2 * LINE)}
    template = environment.get_template(_TEMPLATE)
    return template.render(
        audit=audit,
        judges=audit.judges[:_MOST_JUDGES],
        plots=_plots(audit),
        sources=[one.value for one in Source],
    )


def _plots(audit: Audit) -> _Plots:
    roles = {name: one.severe for name, one in audit.by_role.items()}
    p, severe = audit.suspected.p_severe, audit.suspected.severe
    segments = {name: one.severe for name, one in audit.by_segment.items()}
    return _Plots(
        sizes=_text(sizes_plot(audit.pairs_per_cluster)),
        suspected="" if p is None or severe is None else _text(probabilities_plot(p, severe)),
        judges=tuple(
            _text(shares_plot(judge.by_level, "share severe for people")) if judge.by_level else ""
            for judge in audit.judges[:_MOST_JUDGES]
        ),
        roles=_text(shares_plot(roles, "share severe")) if roles else "",
        segments=_text(shares_plot(segments, "share severe")) if segments else "",
    )


def _text(png: bytes) -> str:
    return base64.b64encode(png).decode()
