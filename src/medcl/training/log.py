"""The log of a run: one CSV line per entry, safe against kills and cut back exactly on resume."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from medcl.files import atomic_write

Row = dict[str, Any]


class RunLog:
    """A CSV file with columns step, minutes, kind, name, value: one line per number.

    The long form needs no fixed columns: methods name their own losses. A line is written in one call, so that a kill
    leaves at most one incomplete last line, which reading skips.

    Args:
        path: The file.
        keep_until: On resume: entries of later steps are dropped, because these steps come again.
        write: Whether this process starts the file.
    """

    COLUMNS = ("step", "minutes", "kind", "name", "value")

    def __init__(self, path: Path, *, keep_until: int | None = None, write: bool = True) -> None:
        self.path = path
        if not write:
            return
        rows = [r for r in read_log(path) if keep_until is not None and r["step"] <= keep_until]
        with atomic_write(path) as temporary:
            temporary.write_text(
                _lines([self.COLUMNS, *([r[c] for c in self.COLUMNS] for r in rows)]), encoding="utf-8"
            )

    def add(self, step: int, minutes: float, kind: str, values: dict[str, float]) -> None:
        """Append numbers of one moment.

        Args:
            step: Steps done.
            minutes: Minutes of training so far.
            kind: loss, rate, validation.
            values: Name -> number.
        """
        lines = _lines([(step, f"{minutes:.3f}", kind, name, f"{value:.8g}") for name, value in values.items()])
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines)


def _lines(rows: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def read_log(path: Path) -> list[Row]:
    """Return the complete lines of a log; an absent file is an empty log.

    Returns:
        Rows with step (int), minutes (float), kind, name, value (float).
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    rows: list[Row] = []
    for row in csv.DictReader(io.StringIO(complete)):
        rows.append({**row, "step": int(row["step"]), "minutes": float(row["minutes"]), "value": float(row["value"])})
    return rows


def curve(rows: list[Row], kind: str, name: str) -> tuple[list[float], list[float]]:
    """Return minutes and values of one named curve."""
    chosen = [r for r in rows if r["kind"] == kind and r["name"] == name]
    return [r["minutes"] for r in chosen], [r["value"] for r in chosen]
