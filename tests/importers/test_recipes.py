"""The recipes for BTCV, MyoPS and their stand-ins run from the download to the scores, in a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import importer_trees
import numpy as np
import pytest

from medcl.benchmark import load_recipe, plan_benchmark, run_benchmark
from medcl.benchmark.recipe import Recipe
from medcl.importers.run import import_dataset
from medcl.phantom import make_phantom

RECIPES = Path(__file__).resolve().parents[2] / "benchmarks" / "recipes"
DOWNLOADS: dict[str, dict[str, Any]] = {"btcv": {"organs": 8}, "myops": {"hold_out": 1}}


def short(recipe: Recipe, methods: tuple[str, ...]) -> Recipe:
    """Return the recipe with two steps of a tiny network and one seed."""
    steps = {"budget": "2steps", "settings": {"backbone.base": 4, "backbone.levels": 3, "plan.patch": [32, 32]}}
    values = recipe.model_dump()
    values |= {"protocols": {"fast": steps}, "seeds": [0], "reference": None}
    values["methods"] = {name: values["methods"][name] for name in methods}
    return Recipe.parse(values)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the volumes of the trees twice as wide and high, so that there is room for strokes."""
    small = importer_trees.volume

    def volume(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
        image, label = (array.repeat(2, axis=1).repeat(2, axis=2) for array in small(seed, classes))
        return image, label

    monkeypatch.setattr(importer_trees, "volume", volume)


@pytest.mark.slow
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("name", DOWNLOADS)
def test_from_download_to_scores(name: str, tmp_path: Path) -> None:
    importer_trees.TREES[name](tmp_path / "download")
    import_dataset(name, tmp_path / "download", tmp_path / "data" / name, allow_partial=True, **DOWNLOADS[name])
    recipe = short(load_recipe(RECIPES / f"{name}.yaml"), ("medcl",))
    result = run_benchmark(recipe, tmp_path / "runs", tmp_path / "data", jobs=1)
    assert result.failed == {}
    assert result.complete
    scores = (result.folder / "results.csv").read_text(encoding="utf-8")
    assert ("pancreas" if name == "btcv" else "oedema") in scores


@pytest.mark.parametrize("name", [*DOWNLOADS, "phantoms"])
def test_all_jobs_of_a_recipe_can_start(name: str, tmp_path: Path) -> None:
    if name == "phantoms":
        for kind in ("abdomen", "scar"):
            make_phantom(tmp_path / kind, kind, cases=2, validation=1, test=1, size=(2, 48, 48), dense=True)  # type: ignore[arg-type]
    else:
        importer_trees.TREES[name](tmp_path / "download")
        import_dataset(name, tmp_path / "download", tmp_path / name, allow_partial=True, **DOWNLOADS[name])
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert plan_benchmark(recipe, tmp_path, protocols=list(recipe.protocols))
