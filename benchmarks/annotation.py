"""Which strategy makes a good model in the fewest seconds of drawing?

    medcl simulate-annotation benchmarks/recipes/annotation-real.yaml --data DATA --out OUT
    python benchmarks/annotation.py --runs OUT --out annotation.json

The first does the work, the second writes what docs/results.md shows (`section_annotation.lines`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from medcl.benchmark.simulation.results import load_simulation, simulations_in
from medcl.benchmark.simulation.tables import notes, tables_of


def content_of(runs: Path, name: str) -> dict[str, Any]:
    """Return tables and figures of a finished simulation."""
    results = load_simulation(runs.absolute(), name)
    tables = [
        {"caption": table.caption, "columns": list(table.columns), "rows": [list(row) for row in table.rows]}
        for data in results.data
        for table in tables_of(data)
    ]
    return {
        "title": results.recipe.title or name,
        "description": results.recipe.description.strip(),
        "command": f"medcl simulate-annotation benchmarks/recipes/{name}.yaml",
        "recipe": results.recipe.model_dump(mode="json", exclude_defaults=True),
        "notes": notes(results),
        "tables": tables,
        "seeds": {data.name: data.seeds for data in results.data},
        **{key: results.facts[key] for key in ("code", "versions", "machine")},
    }


def main() -> None:
    """Read and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="--out of medcl simulate-annotation")
    parser.add_argument("--data", type=Path, help="not read: the runs hold all that is needed")
    parser.add_argument("--name", nargs="+", help="names of recipes; default: all that were run there")
    parser.add_argument("--out", type=Path, default=Path("annotation.json"))
    options = parser.parse_args()
    wanted = [(runs, name) for runs in options.runs for name in options.name or simulations_in(runs)]
    content = {"recipes": [content_of(runs, name) for runs, name in wanted]}
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
