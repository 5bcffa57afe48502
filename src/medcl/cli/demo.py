"""`medcl demo`: the whole loop on made-up hearts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PARTS = ("data", "run", "medcl-store", "masks", "scores")  # everything that a demo leaves behind


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo writes.")] = Path("demo"),
    budget: Annotated[str, typer.Option(help="How long to train: 3m, 90s or 500steps.")] = "3m",
    cases: Annotated[int, typer.Option(min=2, help="Made-up hearts to train on.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the hearts, the strokes and the training.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier demo wrote there.")] = False,
) -> None:
    """Run the whole loop on made-up hearts, with a report.

    Makes hearts with a few strokes each, checks them, trains MedCL on the strokes alone, predicts hearts it
    has never seen and scores them against dense labels. Every step is a public function or command that works the
    same on your own data.
    """
    import time

    import medcl
    from medcl.cli.training_progress import TrainingProgress

    started = time.monotonic()
    _make_room(out, overwrite)
    data, run, masks, scores = (out / part for part in ("data", "run", "masks", "scores"))

    _announce(1, f"Making {cases} hearts with strokes", f"medcl phantom {data}")
    medcl.make_phantom(data, "heart", cases=cases, validation=2, test=6, seed=seed)

    _announce(2, "Checking them", f"medcl check {data}")
    report = medcl.check(data)
    counts = report.counts
    typer.echo(f"{report.cases} cases: {counts['error']} errors, {counts['warning']} warnings (the command shows them)")

    _announce(3, f"Training on the strokes ({budget})", f"medcl train {data} --out {run} --budget {budget}")
    with TrainingProgress() as progress:
        trained = medcl.train(data, run, method="medcl", budget=budget, settings={"seed": seed}, show=progress)
    if not trained.finished:
        raise typer.Exit(130)

    _announce(4, "Predicting hearts it has never seen", f"medcl predict {run} {data / 'imagesTs'} --out {masks}")
    model = medcl.Model.load(run)
    medcl.predict(model, [data / "imagesTs"], masks)

    _announce(5, "Scoring them", f"medcl evaluate {masks} {data / 'labelsTs'} --out {scores}")
    result = medcl.evaluate(masks, data / "labelsTs", scores, images=data / "imagesTs")

    typer.echo("\nStructure   Dice    95 % distance")
    for name in (*model.classes[1:], None):
        dice, distance = result.get("dice", name), result.get("hd95_mm", name)
        typer.echo(f"{name or 'mean':<10}  {dice.mean:.3f}   {distance.mean:.1f} mm")
    minutes = (time.monotonic() - started) / 60
    typer.echo(f"\nDone in {minutes:.1f} minutes. Look at the pictures: {(scores / 'report.html').resolve()}")
    typer.echo("With your own images and strokes: medcl init, check, train, predict, evaluate (docs/quickstart.md).")


def _make_room(out: Path, overwrite: bool) -> None:
    """Leave an empty folder, or say what is in the way; only what a demo wrote is ever removed."""
    import shutil

    from medcl.errors import DataError

    there = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if not there:
        return
    if not overwrite or not set(there) <= set(PARTS):
        hint = "add --overwrite to replace it" if set(there) <= set(PARTS) else "choose another folder"
        raise DataError(f"{out}: expected no folder or an empty one, found {', '.join(there[:5])}; {hint}.")
    for name in there:
        shutil.rmtree(out / name)


def _announce(step: int, title: str, command: str) -> None:
    typer.secho(f"\n[{step}/5] {title}", bold=True)
    typer.echo(f"      {command}")
