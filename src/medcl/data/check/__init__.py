"""What is wrong with the files of a data set: everything at once, with amounts and what to do.

Each module holds checks of one subject; `Inspection` runs them in one pass over the cases. How well strokes cover an
image is measured one floor up (`medcl.scribbles.coverage`), so the check as users know it, files and strokes together,
is put together there: `medcl.scribbles.check`.
"""

from __future__ import annotations

from medcl.data.check.contents import CaseFiles, Contents, read_contents
from medcl.data.check.findings import SEVERITIES, Finding, FindingGroup, Severity, group_findings
from medcl.data.check.run import DrawnCase, Inspection

__all__ = [
    "SEVERITIES",
    "CaseFiles",
    "Contents",
    "DrawnCase",
    "Finding",
    "FindingGroup",
    "Inspection",
    "Severity",
    "group_findings",
    "read_contents",
]
