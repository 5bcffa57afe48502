"""The strategy that docs/queries.md shows works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from medcl.queries import CaseFacts, Place, Pool, build_strategy, queries


def test_the_example_ranks_by_size(project_root: Path) -> None:
    page = (project_root / "docs" / "queries.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    try:
        exec(compile(code, "docs/queries.md", "exec"), {})
        facts = (CaseFacts("a", "axial", 3, 1.0, (1, 1, 1)),)
        places = tuple(Place("a", z, 1, 1.0, share, (0, 0, z)) for z, share in enumerate((0.1, 0.3, 0.2)))
        found = build_strategy("largest").rank(Pool(("background", "RV"), facts, places), 2)
    finally:
        queries._members.pop("largest", None)
    assert [(q.slice, q.reason) for q in found] == [
        (1, "RV, large, nothing drawn in this case yet"),
        (2, "RV, large, nothing drawn in this case yet"),
    ]
