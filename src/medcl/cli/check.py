"""`medcl check`: what is wrong with a data set, and where strokes lack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from medcl.scribbles.check import CheckReport
    from medcl.scribbles.contradictions import Contradiction

_WIDTH = 100
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_PLACES = 10


def check(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json, imagesTr, scribblesTr, ...")],
    scribbles: Annotated[
        str | None, typer.Option(help="One annotator's folder where scribblesTr holds several; default: all.")
    ] = None,
    tolerance_mm: Annotated[
        float, typer.Option(min=0.0, help="Largest difference in spacing and position that counts as equal, in mm.")
    ] = 1e-3,
    far_share: Annotated[
        float,
        typer.Option(min=0.0, help="Warn where a pixel is farther from strokes than this share of the diagonal."),
    ] = 1 / 3,
    details: Annotated[bool, typer.Option("--details", help="Show the strokes of every case and class.")] = False,
    picture: Annotated[
        Path | None, typer.Option(help="PNG to write: the worst contradictions between several people.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, each finding by itself, and nothing else.")
    ] = False,
) -> None:
    """List what is wrong with a dataset and where strokes lack.

    All findings come at once, grouped by kind, with what to do. The exit code is 1 if there is an error, else 0.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from medcl.scribbles.check import check as run_check

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Checking", total=None)

        def show(done: int, total: int, case: str) -> None:
            progress.update(task, completed=done, total=total, description=f"Checking {case[:40]}".replace("[", "("))

        report = run_check(dataset, scribbles=scribbles, tolerance_mm=tolerance_mm, far_share=far_share, progress=show)
    if picture is not None:
        from medcl.evaluation.rater_pictures import draw_contradictions

        draw_contradictions(dataset, report.contradictions, picture)
    if as_json:
        typer.echo(report.to_json())
    else:
        console = Console(highlight=False)
        console.width = min(console.width, _WIDTH) if console.is_terminal else _WIDTH
        _render(report, console, details)
    if not report.ok:
        raise typer.Exit(1)


def _render(report: CheckReport, console: Console, details: bool) -> None:
    if report.findings:
        _render_findings(report, console)
    if report.coverage:
        _render_classes(report, console)
        if details:
            _render_details(report, console)
        _render_places(report, console)
    if report.contradictions:
        _render_contradictions(report, console)
    counts = report.counts
    summary = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for name, number in counts.items())
    console.print(f"{report.cases} cases: {summary}.", style="green" if report.ok else "red", markup=False)


def _render_findings(report: CheckReport, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Findings", title_justify="left", show_lines=True, expand=True)
    table.add_column("severity", no_wrap=True)
    table.add_column("case", ratio=4, overflow="fold")
    table.add_column("what", ratio=6, overflow="fold")
    table.add_column("what to do", ratio=4, overflow="fold")
    for group in report.groups():
        first = group.findings[0]
        where = group.where()
        if len(group.findings) > 1:
            where = f"{len(group.findings)} times: {where}"
        what = first.message
        if first.file is not None and not what.startswith(first.file):
            folder, _, name = first.file.rpartition("/")
            what = f"{folder if first.case is not None and name.startswith(first.case) else first.file}: {what}"
        if len(group.findings) > 1:
            what = f"e.g. {what}"
        table.add_row(
            Text(group.severity, style=_COLOURS[group.severity]),
            Text(where),
            Text.assemble((group.code, "bold"), "\n", what),
            Text(first.todo),
        )
    console.print(table)


def _render_classes(report: CheckReport, console: Console) -> None:
    from statistics import median

    from rich.table import Table
    from rich.text import Text

    table = Table(
        title="Strokes by class: median over the scribbles that show it (farthest: label pixel from its strokes)",
        title_justify="left",
    )
    table.add_column("class", overflow="fold", min_width=10, max_width=24)
    for name in ("scribbles", "strokes", "pixels", "share", "slices", "of label", "farthest"):
        table.add_column(name, justify="right")
    for index, name in enumerate(report.classes):
        shown = [case.classes[index] for case in report.coverage if case.classes[index].pixels]
        cells = ["-"] * 6
        if shown:
            of_label = [entry.drawn_share for entry in shown if entry.drawn_share is not None]
            far = [entry.farthest_mm for entry in shown if entry.farthest_mm is not None]
            cells = [
                f"{median(entry.strokes for entry in shown):g}",
                f"{median(entry.pixels for entry in shown):g}",
                f"{median(entry.share for entry in shown):.2%}",
                f"{median(entry.slices for entry in shown):g}",
                f"{median(of_label):.1%}" if of_label else "-",
                f"{median(far):.1f} mm" if far else "-",
            ]
        table.add_row(Text(name), f"{len(shown)}/{len(report.coverage)}", *cells)
    console.print(table)


def _render_details(report: CheckReport, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Strokes by case and class", title_justify="left")
    table.add_column("scribble", overflow="fold", max_width=34)
    table.add_column("class", overflow="fold", max_width=16)
    for name in ("strokes", "pixels", "share", "slices", "farthest"):
        table.add_column(name, justify="right")
    for case in report.coverage:
        farthest = "-" if case.farthest_mm is None else f"{case.farthest_mm:.0f} mm"
        table.add_row(Text(case.file.partition("/")[2]), "any", "", "", "", f"{case.size[0]}", farthest, style="bold")
        for entry in case.classes:
            far = "-" if entry.farthest_mm is None else f"{entry.farthest_mm:.1f} mm"
            numbers = (f"{entry.strokes}", f"{entry.pixels}", f"{entry.share:.2%}", f"{entry.slices}")
            table.add_row("", Text(entry.name), *numbers, far)
    console.print(table)


def _render_places(report: CheckReport, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    measured = [case for case in report.coverage if case.farthest_mm is not None and case.farthest_at is not None]
    measured.sort(key=lambda case: (case.farthest_mm or 0.0) / (case.field_mm or 1.0), reverse=True)
    table = Table(title=f"Farthest from any stroke (worst {min(_PLACES, len(measured))})", title_justify="left")
    table.add_column("scribble", overflow="fold", max_width=46)
    for name in ("slice", "y", "x", "distance", "of diagonal", "in"):
        table.add_column(name, justify="right")
    for case in measured[:_PLACES]:
        z, y, x = case.farthest_at or (0, 0, 0)
        distance = case.farthest_mm or 0.0
        share = f"{distance / case.field_mm:.0%}" if case.field_mm else "-"
        table.add_row(
            Text(case.file.partition("/")[2]), f"{z}", f"{y}", f"{x}", f"{distance:.0f} mm", share, f"{case.ndim}D"
        )
    if measured:
        console.print(table)
        console.print("Slices, y and x count from 0. All scribbles: --json; every class of every case: --details.")


def _render_contradictions(report: CheckReport, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    pairs: dict[tuple[str, str, str], list[Contradiction]] = {}
    for one in report.contradictions:
        pairs.setdefault((one.kind, one.first, one.second), []).append(one)
    table = Table(title="Contradictions between people: voxels on which both said something, and differ")
    table.title_justify = "left"
    table.add_column("pair", overflow="fold", max_width=28)
    for name in ("cases", "voxels", "share"):
        table.add_column(name, justify="right")
    table.add_column("most", overflow="fold", max_width=26)
    table.add_column("worst case, slice", overflow="fold", max_width=30)
    for (kind, first, second), found in pairs.items():
        voxels, compared = sum(one.voxels for one in found), sum(one.compared for one in found)
        classes: dict[tuple[str, str], int] = {}
        for one in found:
            for a, b, n in one.classes:
                classes[a, b] = classes.get((a, b), 0) + n
        (a, b), n = max(classes.items(), key=lambda item: item[1])
        worst = max(found, key=lambda one: one.voxels)
        table.add_row(
            Text(f"{first}, {second} ({kind})"),
            f"{len(found)}",
            f"{voxels}",
            f"{voxels / compared:.2%}",
            Text(f"{a} against {b} {n}"),
            Text(f"{worst.case}, {worst.slice}"),
        )
    console.print(table)
