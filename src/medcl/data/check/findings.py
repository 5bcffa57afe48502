"""What a check says: findings with a severity, the place, the amount and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that a check noticed.

    Attributes:
        severity: `error`: training or prediction would fail or learn something wrong; `warning`: look before training;
            `note`: worth knowing.
        code: Stable name of the kind of finding, such as `geometry-mismatch`.
        case: Case id; None where the finding is about the whole data set.
        file: Path relative to the data set folder, `/` as separator; None where no single file is meant.
        message: What was expected and what was found, with amounts.
        todo: What the user should do.
        amounts: The numbers behind the message, by name; JSON values only.
    """

    severity: Severity
    code: str
    case: str | None
    file: str | None
    message: str
    todo: str
    amounts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one kind.

    Attributes:
        severity: Severity that all of them share.
        code: Code that all of them share.
        findings: The members, in the order in which they were found.
    """

    severity: Severity
    code: str
    findings: tuple[Finding, ...]

    def where(self, most: int = 3) -> str:
        """Name the first cases (or files, or the data set) that the group is about."""
        places = dict.fromkeys(finding.case or finding.file or "data set" for finding in self.findings)
        names = list(places)
        more = f" and {len(names) - most} more" if len(names) > most else ""
        return ", ".join(names[:most]) + more


def group_findings(findings: Iterable[Finding]) -> list[FindingGroup]:
    """Put findings of one severity and code together, errors first, otherwise in order of appearance."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.code), []).append(finding)
    ordered = sorted(groups.items(), key=lambda item: SEVERITIES.index(item[0][0]))
    return [FindingGroup(severity, code, tuple(members)) for (severity, code), members in ordered]


def shorten(values: Iterable[object], most: int = 6) -> str:
    """Write values as a comma separated list that stays short: `0, 1, 2, ... (12 in all)`."""
    texts = [str(value) for value in values]
    if len(texts) <= most:
        return ", ".join(texts)
    return f"{', '.join(texts[:most])}, ... ({len(texts)} in all)"


def runs_of(numbers: Iterable[int]) -> str:
    """Write sorted integers as ranges: `0-2, 5`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return shorten(f"{first}" if first == last else f"{first}-{last}" for first, last in parts)
