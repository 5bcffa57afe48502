"""Every registered method on made-up studies in a few steps: proves that the whole matrix runs, not who is best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medcl.benchmark.recipe import Recipe
from medcl.methods import methods as registered
from medcl.phantom import make_phantom

STEPS = 300
"""Enough that nearly every method finds something of a made-up organ: one that is broken is seen."""


def quick_recipe(
    out: Path, *, methods: Sequence[str] | None = None, data: Sequence[str] = ("heart", "abdomen"), steps: int = STEPS
) -> Recipe:
    """Return a recipe of all methods on tiny phantoms, which are written below `out` where they are missing.

    Args:
        out: The benchmark's folder.
        methods: Names of methods; default: every registered one.
        data: `heart` (slices, several classes, one group) and `abdomen` (volumes, many classes).
        steps: Steps of each training.
    """
    sizes = {"heart": (4, 64, 64), "abdomen": (12, 48, 48)}
    entries = {}
    for kind in data:
        folder = out / "phantoms" / kind
        if not (folder / "dataset.json").exists():
            make_phantom(folder, kind, cases=3, validation=1, test=2, size=sizes[kind], dense=True, seed=0)  # type: ignore[arg-type]
        plan = {"ndim": 2, "patch": [32, 32]} if kind == "heart" else {"ndim": 3, "patch": [8, 32, 32]}
        entries[kind] = {"folder": str(folder.absolute()), "part": "Ts", "settings": {"plan": plan}}
    return Recipe.parse(
        {
            "name": "quick",
            "title": "Every method in a few steps",
            "description": "Made-up studies, a tiny network, few steps: everything runs and learns; not who is best.",
            "data": entries,
            "methods": list(methods or registered.names()),
            "seeds": [0],
            "protocols": {"quick": {"budget": f"{steps}steps"}},
            "settings": {
                "backbone": {"base": 4, "levels": 3},
                "batch_size": 4,
                "optim": {"learning_rate": 0.01, "ema": 0.9},
                "validate_every": 1.0,
                "validation_cases": 1,
                "sample_pictures": 0,
            },
        },
        where="quick recipe",
    )
