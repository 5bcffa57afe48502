"""What an evaluation found: scores, summaries, findings; and how it is written as CSV and JSON."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from medcl.evaluation.metrics import Score
from medcl.evaluation.statistics import ALL, Summary
from medcl.files import atomic_write, write_json

FORMAT = 1
"""Version of the layout of `evaluation.json`."""


@dataclass(frozen=True)
class Finding:
    """Something about the files that a reader of the scores must know.

    Attributes:
        severity: "error": a case that could not be scored, so that the means lack it; "warning"; "note".
        case: Identifier of the case, empty where it is about all.
        message: One sentence: what was expected, what came, what to do.
    """

    severity: Literal["error", "warning", "note"]
    case: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """Return the finding as a flat mapping."""
        return {"severity": self.severity, "case": self.case, "message": self.message}


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of all cases with their summary.

    Attributes:
        classes: Class names by index; index 0 is background.
        scores: One row per case and structure.
        summary: One row per structure and metric, `ALL` structures last.
        findings: Cases that were not scored and why, files without a partner, assumptions that were made.
        settings: What was compared and how, without folders of this machine.
        versions: Versions of the programs that made the scores.
        report: The HTML file, where one was written.
        trust: Calibration scores and expected against true Dice, where probabilities or estimates lie beside the masks.
    """

    classes: tuple[str, ...]
    scores: list[Score]
    summary: list[Summary]
    findings: list[Finding] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    report: Path | None = None
    trust: dict[str, Any] = field(default_factory=dict)

    @property
    def cases(self) -> list[str]:
        """Identifiers of the scored cases, in order."""
        return list(dict.fromkeys(score.case for score in self.scores))

    @property
    def complete(self) -> bool:
        """Whether every label was scored (no finding is an error)."""
        return not any(finding.severity == "error" for finding in self.findings)

    def get(self, metric: str = "dice", structure: str | None = None) -> Summary:
        """Return one summary.

        Args:
            metric: Key of the metric.
            structure: Name of the structure; None means all structures (with one structure, that one).

        Raises:
            KeyError: No such metric or structure; the message lists what there is.
        """
        wanted = structure or (ALL if len(self.classes) > 2 else self.classes[1])
        for row in self.summary:
            if row.metric == metric and row.structure == wanted:
                return row
        known = sorted({f"{row.metric} of {row.structure}" for row in self.summary})
        raise KeyError(f"no summary of '{metric}' for '{wanted}'; known: {', '.join(known)}.")

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; nan becomes None."""
        return {
            "format": FORMAT,
            "classes": list(self.classes),
            "complete": self.complete,
            "summary": [_plain(row.as_dict()) for row in self.summary],
            "scores": [_plain(row.as_dict()) for row in self.scores],
            "findings": [finding.as_dict() for finding in self.findings],
            "trust": _plain(self.trust),
            "settings": _plain(self.settings),
            "versions": dict(self.versions),
        }


def write_tables(folder: Path, result: EvaluationResult) -> None:
    """Write `scores.csv`, `summary.csv` and `evaluation.json` into a folder, each atomically.

    Undefined values are `nan` in CSV and `null` in JSON.

    Args:
        folder: Where to write; made if it is missing.
        result: What to write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / "scores.csv", [item.name for item in fields(Score)], (s.as_dict() for s in result.scores))
    _write_csv(folder / "summary.csv", [item.name for item in fields(Summary)], (s.as_dict() for s in result.summary))
    write_json(folder / "evaluation.json", result.as_dict())


def _write_csv(path: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
