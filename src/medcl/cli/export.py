"""`medcl export`: a model's network in a form that other programs run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[Path, typer.Argument(help="Model folder, or run folder of a finished training.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX (the only format so far, and the default).")] = True,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: model.onnx in the model folder.")
    ] = None,
) -> None:
    """Write a model as ONNX and check that it agrees.

    Input `image` (n, channels, [z,] y, x), prepared as the plan says (it is in the file's metadata); output `logits`.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from medcl.inference.export import LARGEST_DIFFERENCE, export_onnx

    report = export_onnx(model, out)
    table = Table(title=Text(report.path), title_justify="left", show_header=False)
    table.add_row("input image", " x ".join(map(str, report.input)))
    table.add_row("output logits", " x ".join(map(str, report.output)))
    table.add_row("lengths are multiples of", " x ".join(map(str, report.multiple)))
    table.add_row("largest difference from torch", f"{report.largest_difference:.2g} (allowed {LARGEST_DIFFERENCE:g})")
    table.add_row("same class as torch", f"{report.same_class:.4%} of pixels")
    if report.openvino is not None:
        table.add_row("OpenVINO here", f"{report.openvino['engine']}, {float(report.openvino['same_class']):.4%}")
    for note in report.notes:
        table.add_row("note", Text(note, overflow="fold"))
    Console().print(table)
