"""Drawings for reports as inline SVG that takes the page's colours, so that light and dark both read well."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from medcl.evaluation.blocks import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = 8
"""Number of colours of lines and points that the page's style sheet defines (`--series-1` ...)."""

_INK = "#010203"  # stand-ins that `_themed` turns into colours of the page
_GRID = "#010204"
_SERIES_COLOURS = tuple(f"#0102{16 + index:02x}" for index in range(SERIES))
_MARKERS = "osD^vPX*"


def line_plot(curve: Curve) -> str:
    """Draw lines over a common axis, named at the top.

    Args:
        curve: What to draw.

    Returns:
        An `<svg>` element.
    """
    with _figure(4.9, 3.0, curve.title) as (figure, axes, finish):
        for index, (name, (x, y)) in enumerate(curve.lines.items()):
            sparse = len(x) < 30
            axes.plot(
                np.asarray(x, dtype=float),
                np.asarray(y, dtype=float),
                color=_series(index),
                linewidth=1.6,
                linestyle="-" if index < SERIES else "--",
                marker=_marker(index) if sparse else None,
                markersize=3.5,
                label=_entry(name),
            )
        axes.set_xlabel(curve.x_label)
        axes.set_ylabel(curve.y_label)
        if curve.log_y:
            axes.set_yscale("log")
            _plain_decades(axes)
        if curve.y_range is not None:
            axes.set_ylim(*curve.y_range)
        if len(curve.lines) > 1:
            _legend(figure, axes, len(curve.lines))
        return finish()


def box_plot(groups: Mapping[str, Sequence[float]], x_label: str, x_range: tuple[float, float] | None = None) -> str:
    """Draw one horizontal box per group (quartiles, whiskers to 1.5 times their distance) with every case as a point.

    Args:
        groups: Name -> values; nan are left out, groups without a value keep their row.
        x_label: Name and unit of the horizontal axis.
        x_range: Fixed ends of the axis.

    Returns:
        An `<svg>` element.
    """
    with _figure(4.9, 1.0 + 0.42 * len(groups), x_label + ",".join(groups)) as (_, axes, finish):
        jitter = np.random.default_rng(0)
        for row, values in enumerate(groups.values()):
            known = np.asarray(values, dtype=float)
            known = known[np.isfinite(known)]
            if known.size > 2:
                axes.boxplot(
                    [known],
                    positions=[row],
                    orientation="horizontal",
                    widths=0.55,
                    showfliers=False,
                    patch_artist=True,
                    boxprops={"facecolor": _series(0), "edgecolor": _INK, "alpha": 0.35, "linewidth": 0.9},
                    medianprops={"color": _INK, "linewidth": 1.8},
                    whiskerprops={"color": _INK, "linewidth": 0.9},
                    capprops={"color": _INK, "linewidth": 0.9},
                )
            offsets = row + jitter.uniform(-0.16, 0.16, known.size)
            axes.plot(known, offsets, "o", color=_series(0), markersize=3.6, alpha=0.85, markeredgewidth=0)
        axes.set_yticks(range(len(groups)), list(groups))
        axes.set_ylim(len(groups) - 0.4, -0.6)
        axes.set_xlabel(x_label)
        axes.grid(axis="y", visible=False)
        if x_range is not None:
            axes.set_xlim(*x_range)
        return finish()


def agreement_plot(groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str) -> str:
    """Draw points of (reference, prediction) per group with the line of equality.

    Args:
        groups: Name -> (reference values, predicted values).
        x_label: Name and unit of the reference.
        y_label: Name and unit of the prediction.

    Returns:
        An `<svg>` element.
    """
    with _figure(4.9, 4.2, x_label + ",".join(groups)) as (figure, axes, finish):
        largest = max((max([*x, *y], default=0.0) for x, y in groups.values()), default=0.0) or 1.0
        axes.plot([0, largest * 1.05], [0, largest * 1.05], color=_INK, linewidth=0.9, linestyle=(0, (4, 3)))
        for index, (name, (x, y)) in enumerate(groups.items()):
            _points(axes, x, y, index, name)
        axes.set_xlim(0, largest * 1.05)
        axes.set_ylim(0, largest * 1.05)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        _legend(figure, axes, len(groups))
        return finish()


def difference_plot(groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str) -> str:
    """Draw prediction minus reference over the mean of both (Bland and Altman, Lancet 327, 1986).

    Args:
        groups: Name -> (reference values, predicted values).
        x_label: Name and unit of the mean.
        y_label: Name and unit of the difference.

    Returns:
        An `<svg>` element.
    """
    with _figure(4.9, 4.2, y_label + ",".join(groups)) as (figure, axes, finish):
        axes.axhline(0, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)))
        for index, (name, pair) in enumerate(groups.items()):
            reference, predicted = (np.asarray(values, dtype=float) for values in pair)
            _points(axes, (reference + predicted) / 2, predicted - reference, index, name)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        _legend(figure, axes, len(groups))
        return finish()


def _points(axes: Axes, x: Any, y: Any, index: int, name: str) -> None:
    axes.plot(
        x, y, _marker(index), color=_series(index), markersize=5, alpha=0.85, markeredgewidth=0, label=_entry(name)
    )


def _series(index: int) -> str:
    return _SERIES_COLOURS[index % SERIES]


def _plain_decades(axes: Axes) -> None:
    """Write 0.1, 1, 10 at a logarithmic axis, and the steps between them where it is too short for decades."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    low, high = axes.get_ylim()
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(NullFormatter() if high / low > 10 else plain)


def _marker(index: int) -> str:
    return _MARKERS[(index + index // SERIES) % len(_MARKERS)]  # the ninth has the first colour but another shape


def _entry(name: str) -> str:
    return f" {name}" if name.startswith("_") else name  # matplotlib leaves names with an underscore out of legends


def _legend(figure: Figure, axes: Axes, entries: int) -> None:
    for columns in range(min(entries, 4), 0, -1):
        legend = figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside upper left",
            ncols=columns,
            frameon=False,
            fontsize=9,
            handlelength=1.4,
            columnspacing=1.2,
            labelcolor=_INK,
        )
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()  # long names: what leaves the figure would lie on the next one


@contextmanager
def _figure(width: float, height: float, key: str) -> Iterator[tuple[Figure, Axes, Any]]:
    """Give an empty figure in the page's style, and the function that turns it into SVG.

    Args:
        width: Inches.
        height: Inches.
        key: What the identifiers inside the SVG are made from; unique within a page.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text: searchable, and in the page's font
        "svg.hashsalt": key,
        "font.size": 10,
        "text.color": _INK,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.7,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "text.parse_math": False,  # a dollar in the name of a class is no formula
        "axes.unicode_minus": False,
        "axes.formatter.useoffset": False,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # The browser has glyphs that matplotlib's font lacks; measuring a legend warns of them as drawing does.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)

        def finish() -> str:
            stream = io.StringIO()
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
            return _themed(stream.getvalue(), hashlib.sha256((key + stream.getvalue()).encode()).hexdigest()[:8])

        yield figure, axes, finish


def _themed(svg: str, prefix: str) -> str:
    """Cut out the `<svg>` element, make its identifiers unique and hand its colours and font to the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 aria-hidden="true"', svg, count=1)
    svg = re.sub(r"(font: [^;\"]*?px) [^;\"]*", r"\1 var(--font)", svg)
    for index, colour in enumerate(_SERIES_COLOURS, start=1):
        svg = svg.replace(colour, f"var(--series-{index})")
    return svg.replace(_INK, "var(--ink)").replace(_GRID, "var(--line)").strip()
