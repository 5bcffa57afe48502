"""`medcl suggest`: where to draw next, as a list that a time budget pays for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID

    from medcl.suggest import Suggestions


class Source(StrEnum):
    """Where several probability maps of a case come from."""

    SOFTMAX = "softmax"
    TTA = "tta"
    MC_DROPOUT = "mc-dropout"
    CHECKPOINTS = "checkpoints"
    RUNS = "runs"


_SHOWN = 20
_WIDTH = 120


def suggest(
    run: Annotated[str, typer.Argument(help="Run or model folder that looks at the cases; 'none' for a cold start.")],
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    budget: Annotated[
        str | None, typer.Option("--budget", help="What may be spent: time (5m, 90s, 1h) or slices (20slices).")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="How places are chosen; default: clasp-pe, or cold-start.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the list and its pictures.")] = Path(
        "suggestions"
    ),
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Further model (another seed or fold), for disagreement; may be repeated."),
    ] = None,
    uncertainty_from: Annotated[
        Source | None,
        typer.Option(
            "--uncertainty-from",
            help="Where several maps of a case come from (bald); default: --with, or one map.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=2, help="Maps per model, for tta and mc-dropout.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of strategies that draw lots.")] = 0,
    box_mm: Annotated[
        float | None, typer.Option("--box-mm", min=0.1, help="Suggest boxes of this side in place of whole slices.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels/--no-labels", help="Whether a dense label counts as annotated.")
    ] = True,
    redraw: Annotated[
        bool, typer.Option("--redraw", help="Also ask for slices that have strokes, after all others.")
    ] = False,
    scribbles: Annotated[
        str | None, typer.Option("--scribbles", help="Annotator's folder, where scribblesTr holds several.")
    ] = None,
    progress: Annotated[
        float | None,
        typer.Option(
            "--progress", min=0, max=1, help="Share of all your time spent, for schedules; default: drawn slices."
        ),
    ] = None,
    pictures: Annotated[int, typer.Option("--pictures", min=0, help="Most places that get a picture.")] = 50,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting of the strategy or the cost model: per_case=2, cost.per_slice_s=3."),
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
) -> None:
    """Say where the next strokes help most: which slice, which class, why, and what it costs.

    Predicts the training cases that are not annotated, ranks their slices, and writes suggestions.json, .csv, .html and
    pictures. What was predicted is kept beside them: an interrupted call goes on, another strategy answers at once.

    Example: medcl suggest runs/hearts hearts --budget 5m --strategy clasp-pe
    """
    from medcl.data.dataset import Dataset
    from medcl.inference.model import Model
    from medcl.settings import set_by_path
    from medcl.suggest import SuggestSettings
    from medcl.suggest import suggest as make

    options = set_by_path({}, assignments or [])
    cost = options.pop("cost", {})
    values: dict[str, Any] = {
        **_budget(budget),
        "strategy": strategy,
        "options": options,
        "seed": seed,
        "box_mm": box_mm,
        "labels": labels,
        "redraw": redraw,
        "progress": progress,
        "pictures": pictures,
        "cost": cost,
        "source": None if uncertainty_from is None else {"name": uncertainty_from.value, "samples": samples},
    }
    settings = SuggestSettings.parse(values, where="medcl suggest")
    opened = Dataset.open(dataset, scribbles=scribbles)
    models = [] if run == "none" else [Model.load(folder, threads=threads) for folder in (run, *(others or ()))]
    try:
        with _Progress() as tell:
            first, more = (models[0] if models else None), models[1:] or others or ()
            found = make(first, opened, out, settings, others=more, tell=tell)
    except KeyboardInterrupt:
        typer.echo("Interrupted; what was predicted so far is kept, and the same command goes on.", err=True)
        raise typer.Exit(130) from None
    _show(found)
    if found.failed:
        raise typer.Exit(1)


def _budget(text: str | None) -> dict[str, Any]:
    """Read '5m' as seconds, '20slices' as a number of places."""
    from medcl.errors import SettingsError
    from medcl.scribbles.settings import StrokeBudget

    if text is None:
        return {}
    expected = f"--budget: expected a time above 0 (90s, 5m, 1h) or a number of slices (20slices), got '{text}'."
    try:
        limits = StrokeBudget.from_text(text)
    except SettingsError:  # its sentence names limits that make no sense here
        raise SettingsError(expected) from None
    if limits.pixels is not None or limits.strokes is not None:
        raise SettingsError(expected)
    return {"budget_s": limits.seconds, "places": limits.slices}


class _Progress:
    """A bar on stderr; use as a context manager and call it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[counted]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.stage = ""
        self.task: TaskID | None = None

    def __enter__(self) -> _Progress:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, stage: str, done: float, total: int, case: str) -> None:
        """Show how far a stage is."""
        if stage != self.stage:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.stage, self.task = stage, self.bar.add_task(stage, total=total, counted="")
        assert self.task is not None
        counted = f"{min(int(done) + 1, total)} of {total}"
        self.bar.update(self.task, completed=done, description=f"{stage} {case}".strip(), counted=counted)


def _show(found: Suggestions) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from medcl.errors import counted

    console = Console(highlight=False)
    console.width = console.width if console.is_terminal else _WIDTH
    content = found.content
    spent = content.places[-1].total_s if content.places else 0.0
    title = f"{content.strategy}: {counted(len(content.places), 'place')}, about {spent / 60:.1f} min"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for name, justify in (("", "right"), ("case", "left"), ("slice", "left"), ("s", "right"), ("draw and why", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # a literal each
    for place in content.places[:_SHOWN]:
        where = f"{place.plane} {place.slice + 1}"
        table.add_row(str(place.rank), Text(place.case), where, f"{place.cost_s:.0f}", Text(place.reason))
    console.print(table)
    if len(content.places) > _SHOWN:
        console.print(f"... and {len(content.places) - _SHOWN} more in the list.")
    for note in content.notes:
        console.print(Text(note, style="yellow"))
    console.print(Text(f"List and pictures: {found.folder / 'suggestions.html'}"))
    console.print(Text(f"To draw with it: medcl annotate FOLDER --suggestions {found.folder}"))
