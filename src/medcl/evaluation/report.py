"""One HTML file that shows what came out: self-contained, readable on a phone, in light and dark.

Evaluation and training both write it; what is in it comes as data (`blocks`), how it looks is in `templates/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medcl.evaluation.blocks import Curve, Facts, Figure, Figures, Section, Text
from medcl.evaluation.plots import line_plot
from medcl.evaluation.results import EvaluationResult
from medcl.files import atomic_write


def write_report(
    path: Path | str,
    result: EvaluationResult | None,
    *,
    title: str,
    settings: Mapping[str, object],
    versions: Mapping[str, str],
    subtitle: str = "",
    curves: Sequence[Curve] | None = None,
    extra_sections: Sequence[Section] | None = None,
) -> None:
    """Write a report as one HTML file without any reference to the outside.

    Order: scores and findings, curves, extra sections, distributions, volumes, cases, settings, versions.

    Args:
        path: The HTML file; written atomically.
        result: Scores to show, or None (a run without dense labels has no scores).
        title: Heading.
        settings: What was done and how; nested mappings become 'outer.inner'. Leave out folders of this machine.
        versions: Programs and machine, see `medcl.evaluation.provenance`.
        subtitle: A line under the heading.
        curves: Lines over time, each its own drawing.
        extra_sections: More sections: sample pictures, stroke coverage, examples.
    """
    html = render(
        result,
        title=title,
        settings=settings,
        versions=versions,
        subtitle=subtitle,
        curves=curves,
        extra_sections=extra_sections,
    )
    with atomic_write(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def render(
    result: EvaluationResult | None,
    *,
    title: str,
    settings: Mapping[str, object],
    versions: Mapping[str, str],
    subtitle: str = "",
    curves: Sequence[Curve] | None = None,
    extra_sections: Sequence[Section] | None = None,
) -> str:
    """Return the report as HTML; arguments as for `write_report`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from medcl.evaluation.sections import detail_sections, headline_sections

    sections: list[Section] = [] if result is None else headline_sections(result)
    if curves:
        sections.append(_curve_section(curves))
    sections += extra_sections or []
    if result is not None:
        sections += detail_sections(result)
    sections.append(Section("Settings", [Facts(flatten(settings))], folded=True))
    sections.append(Section("Versions and machine", [Facts(dict(versions))], folded=True))
    environment = Environment(
        loader=PackageLoader("medcl.evaluation", "templates"),
        autoescape=True,  # names of cases and classes are data, never markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    page = environment.get_template("report.html")
    return page.render(title=title, subtitle=subtitle, sections=sections)


def flatten(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested settings as 'outer.inner' -> value, in order."""
    flat: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = value
    return flat


def _curve_section(curves: Sequence[Curve]) -> Section:
    figures = []
    for curve in curves:
        ends = [
            f"{name} from {_number(y[0])} to {_number(y[-1])}" for name, (_, y) in curve.lines.items() if len(y) > 0
        ]
        alt = f"{curve.title}: {curve.y_label} over {curve.x_label}; {'; '.join(ends) or 'no values yet'}."
        figures.append(Figure(line_plot(curve), alt, f"{curve.title}. {curve.note}".strip().rstrip(".") + "."))
    return Section("Over time", [Figures(figures)] if figures else [Text("Nothing was recorded.")])


def _number(value: float) -> str:
    return f"{value:.3g}"


def _cell(value: Any) -> str:
    """Show a table cell: undefined numbers as a dash that is read aloud as such by the template's title."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return str(value)
