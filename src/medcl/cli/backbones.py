"""`medcl backbones`: the family with what each costs here, and advice which one to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medcl.benchmark.cost import Cost
    from medcl.data.plan import Plan


def backbones(
    names: Annotated[list[str] | None, typer.Argument(help="Families to measure; default: all that can.")] = None,
    ndim: Annotated[int | None, typer.Option("--ndim", min=2, max=3, help="2 or 3 dimensions; default 2.")] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="Image: 192,192 or 32,64,64; default: those, or the plan's patch.")
    ] = None,
    channels: Annotated[int, typer.Option("--channels", min=1, help="Channels of the image.")] = 1,
    classes: Annotated[int, typer.Option("--classes", min=2, help="Classes, background included.")] = 4,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images per training step.")] = 4,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    quick: Annotated[
        bool, typer.Option("--quick", help="Small images and few repetitions: a look, not a figure.")
    ] = False,
    bench: Annotated[
        Path | None, typer.Option("--bench", help="Folder of medcl benchmark: Dice and U-Score of its backbones.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Data set of --bench that counts; default: where most backbones ran.")
    ] = None,
    advise: Annotated[
        Path | None, typer.Option("--advise", help="Dataset folder: say which backbone to take for it.")
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="Training time that the advice is for: 20m, 2h.")] = "20m",
    costs: Annotated[
        Path | None, typer.Option("--costs", help="Measurements of before (--out), in place of measuring.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for the measurements, JSON.")] = None,
) -> None:
    """Show the family of backbones, measured on this machine.

    Parameters, multiply-adds, training speed, time of a prediction and memory, each network in a process of its own.
    """
    from rich.console import Console

    from medcl.benchmark.advice import advise as choose
    from medcl.benchmark.advice import u_scores
    from medcl.benchmark.cost import CostRequest
    from medcl.benchmark.family import (
        QUICK_SIZES,
        SIZES,
        bench_scores,
        load_costs,
        measure_family,
        members,
        save_costs,
    )
    from medcl.errors import SettingsError
    from medcl.settings import BudgetSettings

    minutes = BudgetSettings.from_text(budget).minutes
    if minutes is None:
        raise SettingsError(f"--budget: expected minutes such as 20m or 2h for an advice, got '{budget}'.")
    if data is not None and bench is None:
        raise SettingsError("--data: names a data set of a benchmark; say which with --bench FOLDER.")
    scores = bench_scores(bench, data) if bench else {}
    plan = _plan(advise, ndim) if advise else None
    lengths = _lengths(size)
    dims = plan.ndim if plan else ndim or (len(lengths) if lengths else 2)
    image = lengths or (plan.patch if plan else (QUICK_SIZES if quick else SIZES)[dims])
    if len(image) != dims:
        raise SettingsError(f"--size: expected {dims} numbers for {dims}D images, got {len(image)}.")
    if costs is not None:
        measured = load_costs(costs)
    else:
        requests = [
            CostRequest.parse(
                {
                    "backbone": scores[name].backbone if name in scores else name,
                    "settings": scores[name].settings if name in scores else {},
                    "label": name,
                    "size": image,
                    "channels": len(plan.channels) if plan else channels,
                    "classes": len(plan.classes) if plan else classes,
                    "batch": batch,
                    "device": device,
                    "seconds": 0.2 if quick else 4.0,
                },
                where="medcl backbones",
            )
            for name in _chosen(names, members(dims), dims, {label: score.backbone for label, score in scores.items()})
        ]
        console = Console(stderr=True)
        with console.status("") as status:

            def show(name: str, number: int, total: int) -> None:
                line = f"measuring {name} ({number + 1} of {total})"
                status.update(line)
                if not console.is_terminal:
                    console.print(line, highlight=False)

            measured = measure_family(requests, show=show)
    if out is not None:
        save_costs(out, measured)
    dice = {name: score.dice for name, score in scores.items()}
    _print(measured, dice, u_scores(measured, dice), f"{' x '.join(map(str, image))}, batch {batch}")
    if plan is not None:
        advice = choose(measured, dice, minutes=minutes, memory_mb=_memory_mb(device))
        for reason in advice.reasons:
            typer.echo(f"- {reason}")
        best = next(cost for cost in measured if cost.name == advice.name)
        options = [f"--set backbone.{key}={value}" for key, value in best.settings.items()]
        typer.echo(" ".join(("advice: --backbone", best.backbone, *options)))


def _chosen(names: list[str] | None, able: list[str], dims: int, benched: Mapping[str, str]) -> list[str]:
    """Return what to measure: the families asked for, each as the benchmark had it where it did."""
    from medcl.backbones import check_dims

    for name in names or ():
        check_dims(name, dims)
    chosen = []
    for name in names or able:
        chosen += [label for label, family in benched.items() if family == name] or [name]
    return chosen


def _lengths(text: str | None) -> tuple[int, ...] | None:
    from medcl.errors import SettingsError

    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) not in (2, 3) or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise SettingsError(f"--size: expected two or three lengths such as 192,192 or 32,64,64, got '{text}'.")
    return tuple(int(part) for part in parts)


def _plan(folder: Path, ndim: int | None) -> Plan:
    from medcl.data.dataset import Dataset
    from medcl.data.plan import make_plan

    return make_plan(Dataset.open(folder), ndim="auto" if ndim is None else 2 if ndim == 2 else 3)


def _memory_mb(device: str) -> float:
    """Return the memory that a training may take: of the GPU, or what is free of the machine's."""
    import psutil
    import torch

    if device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory / 1e6
    return psutil.virtual_memory().available / 1e6


def _print(costs: Sequence[Cost], dice: Mapping[str, float], scores: Mapping[str, float], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = next((cost.made_with for cost in costs if cost.made_with), "")
    table = Table(title=Text(f"{title}; {made}"), title_justify="left")
    heads = ("backbone", "parameters M", "GMACs", "training images/s", "prediction ms", "memory MB", "Dice", "U-Score")
    for head in heads:
        table.add_column(head, justify="left" if head == "backbone" else "right", no_wrap=head == "backbone")
    for cost in costs:
        if cost.problem:
            table.add_row(cost.name, Text("-"))
            continue
        table.add_row(
            cost.name,
            f"{(cost.parameters or 0) / 1e6:.2f}",
            f"{cost.gmacs or 0:.2f}",
            f"{cost.images_per_second or 0:.1f}",
            f"{cost.predict_ms or 0:.1f}",
            f"{cost.memory_mb or 0:.0f}",
            f"{dice[cost.name]:.3f}" if cost.name in dice else "",
            f"{scores[cost.name]:.3f}" if cost.name in scores else "",
        )
    Console().print(table)
    for cost in costs:
        if cost.problem:
            typer.echo(f"{cost.name}: {cost.problem}")
