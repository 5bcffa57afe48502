"""`medcl fuse`: one map out of those of several people, and how reliable each of them is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medcl.scribbles.fusion_write import FusionResult


def fuse(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder with labelsTr/RATER or scribblesTr/RATER.")],
    how: Annotated[str, typer.Option(help="majority, staple or quality (reliability of each person).")] = "quality",
    out: Annotated[str | None, typer.Option(help="Name of the fused maps; default: that of --how.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="labels or scribbles; default: labels where several people labelled.")
    ] = None,
    raters: Annotated[str | None, typer.Option(metavar="A,B,...", help="Which people; default: all.")] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(metavar="RATER:CASE", help="A map that is known to be wrong; repeatable."),
    ] = None,
    leave_out_copies: Annotated[
        bool, typer.Option("--leave-out-copies", help="Leave out maps that a rater has, byte for byte, for two cases.")
    ] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, e.g. certain=0.7 or margin=null; repeatable.")
    ] = None,
    hard: Annotated[bool, typer.Option("--hard", help="Write no shares of the classes (softTr).")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace fused maps of this name.")] = False,
) -> None:
    """Fuse the labels or strokes of several people into one map, with a score per person.

    Writes labelsTr/NAME (or scribblesTr/NAME), shares of the classes in softTr/NAME and the scores in raters/NAME.json.
    The people's own files stay as they are.

    Example: medcl fuse hearts --how staple --out consensus
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from medcl.errors import SettingsError, unknown_name
    from medcl.scribbles.fusion_write import fuse as run_fuse
    from medcl.settings import set_by_path

    if kind not in (None, "labels", "scribbles"):
        raise SettingsError(unknown_name("kind", str(kind), ("labels", "scribbles")))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Fusing", total=None)

        def show(done: int, total: int, case: str) -> None:
            bar.update(task, completed=done, total=total, description=f"Fusing {case[:40]}".replace("[", "("))

        result = run_fuse(
            dataset,
            out=out,
            settings=set_by_path({"how": how}, assignments or []),
            kind=kind,  # type: ignore[arg-type]
            raters=None if raters is None else [name.strip() for name in raters.split(",")],
            leave_out=_pairs(leave_out or []),
            leave_out_copies=leave_out_copies,
            soft=not hard,
            overwrite=overwrite,
            progress=show,
        )
    _render(result, Console(highlight=False))


def _pairs(values: list[str]) -> dict[str, list[str]]:
    from medcl.errors import SettingsError

    pairs: dict[str, list[str]] = {}
    for value in values:
        rater, sign, case = value.partition(":")
        if not sign or not rater or not case:
            raise SettingsError(f"--leave-out: expected RATER:CASE, got '{value}'.")
        pairs.setdefault(rater, []).append(case)
    return pairs


def _render(result: FusionResult, console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Agreement with the estimated truth ({result.kind})", title_justify="left")
    table.add_column("rater", overflow="fold")
    for name in ("score", "voxels", "left out"):
        table.add_column(name, justify="right")
    order = sorted(range(len(result.raters)), key=lambda r: result.scores[r].score or 0.0, reverse=True)
    for r in order:
        score = result.scores[r]
        shown = "-" if score.score is None else f"{score.score:.3f}"
        out = len(result.left_out.get(result.raters[r], ()))
        table.add_row(Text(result.raters[r]), shown, f"{score.voxels}", f"{out}" if out else "")
    console.print(table)
    console.print(
        f"{result.folder}: {result.cases} cases in {result.kind}Tr/{result.name} and the like; {result.disputed:.2%} "
        f"of voxels with several votes disputed, {result.undecided:.2%} of those with any left unlabelled.",
        soft_wrap=True,
        markup=False,
    )
