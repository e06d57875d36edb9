"""Matplotlib figures as files, and as SVG that sits inside a page and takes its colours."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#3d7fc4", "#d2722a", "#3f9a72", "#8b919b"
"""Readable on white and on near-black alike."""
_INK = "#010203"
"""Stands for the page's own text colour until the chart is in the page."""
STYLE: Any = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.formatter.useoffset": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "text.parse_math": False,  # a dollar in somebody's name is a dollar
}
_PAGE: Any = {
    "svg.fonttype": "none",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


Format = Literal["png", "svg", "pdf"]
_DATES: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def encoded(figure: Figure, form: Format = "png", *, dpi: int = 130) -> bytes:
    """A figure as the bytes of a file, the same whenever it is drawn."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "figure"}):
        figure.savefig(buffer, format=form, dpi=dpi, metadata=_DATES.get(form))
    return buffer.getvalue()


class Chart(NamedTuple):
    """A chart and what stands over it."""

    title: str
    svg: Markup


@contextmanager
def chart(
    name: str, width: float, height: float, into: list[Chart], title: str
) -> Iterator[Figure]:
    """Draw a chart for a page.

    Args:
        name: Unique in the page; every id inside starts with it.
        width: Inches.
        height: Inches.
        into: Where the finished chart is put.
        title: What it shows; the page says it, since a text in a chart cannot wrap.

    Yields:
        An empty figure to draw in.
    """
    with matplotlib.rc_context({**STYLE, **_PAGE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    into.append(Chart(title, _for_a_page(buffer.getvalue().decode(), name, title)))


def _for_a_page(svg: str, name: str, title: str) -> Markup:
    """What stands alone as a file, as an element among others."""
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg [^>]*?)width="([\d.]+)pt" height="[\d.]+pt"', r"\1", svg)
    svg = svg.replace(_INK, "currentColor")
    label = Markup('role="img" aria-label="{}" ').format(title)
    # Every tag and attribute here is Matplotlib's, which escapes the texts it is given.
    return Markup(svg.replace("<svg ", f"<svg {label}", 1))
