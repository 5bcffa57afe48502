"""`medcl init`: show what a folder holds, ask what it means, write dataset.json."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from medcl.data.init import Answers, InitReport, Survey

Patterns = list[str] | None


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images and maps, in any layout.", show_default=False)],
    background: Annotated[
        str | None, typer.Option(help="Value of a background stroke, or 'none' if nobody drew any.")
    ] = None,
    ignore: Annotated[str | None, typer.Option(help="Value that means: nothing drawn here.")] = None,
    class_: Annotated[
        Patterns, typer.Option("--class", metavar="VALUE=NAME", help="Name of a value; once per value.")
    ] = None,
    channels: Annotated[str | None, typer.Option(help="Names of the image channels, such as CT or T1,T2.")] = None,
    group: Annotated[
        Patterns, typer.Option(metavar="NAME=A,B,..", help="A named union of classes, such as heart=RV,Myo,LV.")
    ] = None,
    label_background: Annotated[
        str | None, typer.Option(help="Background in dense labels, where it differs from scribbles.")
    ] = None,
    label_ignore: Annotated[str | None, typer.Option(help="Value of 'not annotated' in dense labels.")] = None,
    label_class: Annotated[
        Patterns, typer.Option(metavar="VALUE=NAME", help="Name of a value in dense labels, where it differs.")
    ] = None,
    images: Annotated[
        Patterns,
        typer.Option(metavar="PATTERN", help="Training images, such as 'images/{case}.png'; once per channel."),
    ] = None,
    scribbles: Annotated[str | None, typer.Option(metavar="PATTERN", help="Scribbles of them.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="PATTERN", help="Dense labels of them.")] = None,
    images_val: Annotated[Patterns, typer.Option(metavar="PATTERN", help="Validation images.")] = None,
    labels_val: Annotated[str | None, typer.Option(metavar="PATTERN", help="Dense labels of them.")] = None,
    images_test: Annotated[Patterns, typer.Option(metavar="PATTERN", help="Test images.")] = None,
    labels_test: Annotated[str | None, typer.Option(metavar="PATTERN", help="Dense labels of them.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set; default: name of --out or FOLDER.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder to lay the files out in, as links.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files to --out instead of linking to them.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset.json that is there.")] = False,
) -> None:
    """Describe a folder of images and scribbles (or labels) in a dataset.json.

    Shows every value in the maps with its share and asks what it means; options answer in advance. Your files are never
    moved or changed.
    """
    from medcl.data.init import Answers, init_dataset, parse_meaning, survey
    from medcl.data.init.write import check_target

    sources = _sources(
        {
            "imagesTr": images,
            "scribblesTr": scribbles,
            "labelsTr": labels,
            "imagesVal": images_val,
            "labelsVal": labels_val,
            "imagesTs": images_test,
            "labelsTs": labels_test,
        }
    )

    def meaning(text: str | None, option: str) -> int | Literal["none"] | None:
        return None if text is None else parse_meaning(text, option)

    answers = Answers(
        background=meaning(background, "--background"),
        ignore=meaning(ignore, "--ignore"),
        classes=_names(class_, "--class"),
        label_background=meaning(label_background, "--label-background"),
        label_ignore=meaning(label_ignore, "--label-ignore"),
        label_classes=_names(label_class, "--label-class"),
        channels=tuple(part.strip() for part in channels.split(",")) if channels else (),
    )
    asking = _somebody_there()
    if asking and folder.is_dir():
        sources, out = _ask_sources(folder, sources, out)
    check_target(folder, sources, out, force)
    found = survey(folder, sources, progress=_progress if sys.stderr.isatty() else None)
    _show_survey(found)
    if asking:
        answers = _ask(found, answers)
    report = init_dataset(
        folder,
        **vars(answers),
        groups=_groups(group),
        name=name,
        sources=sources,
        out=out,
        copy=copy,
        force=force,
        found=found,
    )
    _show_report(report)


def _somebody_there() -> bool:
    return sys.stdin.isatty()


def _sources(given: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {key: (text,) if isinstance(text, str) else tuple(text) for key, text in given.items() if text}


def _pairs(items: Patterns, option: str) -> list[tuple[str, str]]:
    from medcl.errors import DataError

    pairs = []
    for item in items or []:
        left, sign, right = item.partition("=")
        if not sign or not left.strip() or not right.strip():
            raise DataError(f"{option}: expected two parts joined by '=', got '{item}'.")
        pairs.append((left.strip(), right.strip()))
    if len({left for left, _ in pairs}) < len(pairs):
        raise DataError(f"{option}: '{pairs[-1][0]}' and others are given twice; each needs one meaning.")
    return pairs


def _names(items: Patterns, option: str) -> dict[int, str]:
    from medcl.errors import DataError

    names = {}
    for value, name in _pairs(items, option):
        try:
            names[int(value)] = name
        except ValueError:
            raise DataError(f"{option}: expected VALUE=NAME such as 1=liver, got '{value}={name}'.") from None
    return names


def _groups(items: Patterns) -> dict[str, list[str]] | None:
    if items is None:
        return None
    return {name: [part.strip() for part in members.split(",")] for name, members in _pairs(items, "--group")}


def _ask_sources(
    folder: Path, sources: dict[str, tuple[str, ...]], out: Path | None
) -> tuple[dict[str, tuple[str, ...]], Path | None]:
    """Ask which files are what, where the folder has no dataset layout and no option says it."""
    from medcl.data.init import in_layout, list_groups, option_of, propose_sources

    if not sources and not in_layout(folder):
        groups = list_groups(folder)
        rows = [(g.pattern, len(g.files), g.files[0], f"{g.role} ({g.reason})" if g.role else "?") for g in groups]
        _table("Files", ("named like", "files", "first", "perhaps"), rows[:30])
        proposal = propose_sources(groups)
        typer.echo("Which of them are what? Enter takes the proposal in brackets; '-': none; ';' parts channels.")
        for key in ("imagesTr", "scribblesTr", "labelsTr", "imagesVal", "labelsVal", "imagesTs", "labelsTs"):
            if key not in proposal and key[-2:] != "Tr":
                continue
            text = typer.prompt(option_of(key).removeprefix("--"), default="; ".join(proposal.get(key, ())) or "-")
            if text.strip() != "-":
                sources = {**sources, key: tuple(part.strip() for part in text.split(";"))}
    if sources and out is None:
        out = Path(typer.prompt("New folder for the data set (links to your files)", default=f"{folder.name}-medcl"))
    return sources, out


def _ask(found: Survey, answers: Answers) -> Answers:
    """Ask one question after the other; an answer that cannot be used is asked for again."""
    from medcl.data.init import answer, open_questions
    from medcl.errors import DataError

    while questions := open_questions(found, answers):
        question = questions[0]
        hint = f" [proposal {question.proposal}: {question.reason}]" if question.proposal else ""
        text = typer.prompt(question.text + hint, default=question.proposal, show_default=False)
        try:
            answers = answer(answers, question, text)
        except DataError as error:
            typer.secho(str(error), fg=typer.colors.RED)
    return answers


def _progress(done: int, total: int) -> None:
    typer.echo(f"\rcounting values: {done}/{total} files" + ("\n" if done == total else ""), nl=False, err=True)


def _show_survey(found: Survey) -> None:
    from medcl.data.init import percent

    rows = [(key, len(cases), next(iter(cases.values()))[0]) for key, cases in found.files.items()]
    _table(f"{found.folder}", ("what", "cases", "first file"), rows)
    for kind, counts in found.values.items():
        title = "Values in scribbles" if kind == "scribbles" else "Values in dense labels"
        values = [(count.value, count.voxels, percent(count.share), count.files) for count in counts]
        _table(title, ("value", "pixels", "share", "files"), values)


def _show_report(report: InitReport) -> None:
    for note in report.notes:
        typer.secho(f"Note: {note}", fg=typer.colors.YELLOW)
    content = report.content
    for key in ("labels", "scribble_labels", "groups"):
        if key in content:
            meanings = ((n, " + ".join(map(str, v)) if isinstance(v, list) else v) for n, v in content[key].items())
            typer.echo(f"{key}: " + ", ".join(f"{name} = {value}" for name, value in meanings))
    counted = ", ".join(f"{number} {split}" for split, number in report.cases.items() if number)
    typer.echo(f"Wrote {report.path} ({counted}). Next: medcl check {report.path.parent}")


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for index, column in enumerate(columns):
        number = bool(rows) and isinstance(rows[0][index], int)
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    Console().print(table)
