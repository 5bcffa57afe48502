"""Recipes: what is a combination, which layer of settings wins, and what is wrong with a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medcl.benchmark.jobs import Job, choose, expand
from medcl.benchmark.recipe import Recipe, load_recipe, registered
from medcl.errors import SettingsError
from medcl.settings import nested
from medcl.training.configure import configure

RECIPES = sorted(
    path
    for path in (Path(__file__).resolve().parents[2] / "benchmarks" / "recipes").glob("*.yaml")
    if not path.stem.startswith("annotation-")  # simulated annotations: tests/benchmark/simulation
)

PLAIN: dict[str, Any] = {
    "name": "plain",
    "data": {"hearts": {"folder": "hearts", "part": "Val"}, "livers": {"folder": "livers", "part": "Ts"}},
    "methods": ["medcl", "partial-ce"],
    "seeds": [0, 1],
    "protocols": {"fast": {"budget": "5m"}, "full": {"budget": "60m"}},
}


def recipe(**changes: Any) -> Recipe:
    return Recipe.parse({**PLAIN, **changes})


def names(jobs: list[Job]) -> list[str]:
    return [job.name for job in jobs]


def test_every_combination_is_a_job_first_seeds_first() -> None:
    assert names(expand(recipe())) == [
        "hearts-medcl-fast-s0",
        "hearts-partial-ce-fast-s0",
        "livers-medcl-fast-s0",
        "livers-partial-ce-fast-s0",
        "hearts-medcl-fast-s1",
        "hearts-partial-ce-fast-s1",
        "livers-medcl-fast-s1",
        "livers-partial-ce-fast-s1",
    ]
    assert len(expand(recipe(), ["fast", "full"])) == 16


def test_fewer_stroke_cases_are_a_dimension() -> None:
    jobs = expand(recipe(cases=[None, 5, 0.2], data={"hearts": PLAIN["data"]["hearts"]}, methods=["medcl"], seeds=0))
    assert names(jobs) == ["hearts-medcl-fast-s0", "hearts-medcl-n5-fast-s0", "hearts-medcl-n0.2-fast-s0"]
    assert [job.settings.get("cases") for job in jobs] == [None, 5, 0.2]


def test_later_layers_of_settings_win() -> None:
    jobs = expand(
        recipe(
            settings={"optim.ema": 0.1, "batch_size": 1, "threads": 1},
            data={"hearts": {"folder": "h", "part": "Ts", "settings": {"batch_size": 2, "optim": {"decay": "cosine"}}}},
            protocols={"fast": {"budget": "9steps", "settings": {"batch_size": 3}}},
            methods={"mine": {"method": "partial-ce", "settings": {"batch_size": 4, "method.weight": 2.0}}},
            seeds=7,
        )
    )
    assert jobs[0].settings == {
        "method": {"name": "partial-ce", "weight": 2.0},
        "backbone": {"name": "unet"},
        "optim": {"ema": 0.1, "decay": "cosine"},
        "batch_size": 4,
        "threads": 1,
        "seed": 7,
        "budget": {"steps": 9},
    }


def test_a_setting_cannot_be_value_and_group() -> None:
    assert nested({"a.b": 1}, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    with pytest.raises(SettingsError, match=r"a: expected a single value"):
        nested({"a": 1}, {"a.b": 2})
    with pytest.raises(SettingsError, match=r"a: expected keys and values"):
        nested({"a.b": 1}, {"a": 2})


def test_blocks_replace_the_full_grid_and_may_overlap() -> None:
    blocks = {
        "one": {"data": "hearts", "seeds": 0},
        "two": {"data": "hearts", "methods": "medcl", "protocols": "full"},
        "again": {"data": "hearts", "methods": "medcl", "seeds": [0]},
    }
    assert names(expand(recipe(jobs=blocks))) == [
        "hearts-medcl-fast-s0",
        "hearts-partial-ce-fast-s0",
        "hearts-medcl-full-s0",
        "hearts-medcl-full-s1",
    ]
    assert names(expand(recipe(jobs=blocks), ["full"])) == [
        "hearts-medcl-full-s0",
        "hearts-partial-ce-full-s0",
        "hearts-medcl-full-s1",
    ]


def test_backbones_are_told_apart() -> None:
    jobs = expand(recipe(backbones=["unet", "other"], seeds=0, methods=["medcl"], data={"h": PLAIN["data"]["hearts"]}))
    assert names(jobs) == ["h-medcl+unet-fast-s0", "h-medcl+other-fast-s0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metods": ["medcl"]}, "unknown setting 'metods'; did you mean 'methods'"),
        ({"data": {}}, "data"),
        ({"data": {"h": {"folder": "h", "part": "Test"}}}, "data.h.part.*'Tr', 'Val' or 'Ts'"),
        ({"protocols": {"fast": {"budget": "5"}}}, "budget"),
        ({"reference": "medlc"}, "unknown method of the recipe 'medlc'; did you mean 'medcl'"),
        ({"jobs": {"b": {"data": "haerts"}}}, "jobs.b.data: unknown data 'haerts'; did you mean 'hearts'"),
        ({"name": "a/b"}, "name 'a/b'"),
        ({"scoring": {"pieces": ["biggest"]}}, "scoring.pieces"),
        (
            {"data": {"h": {"folder": "h", "part": "Ts", "scribbles": "a", "annotators": ["b"]}}},
            "one kind of strokes, got scribbles and annotators",
        ),
    ],
)
def test_a_wrong_recipe_is_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        recipe(**changes)


def test_unknown_protocols_and_jobs_are_named() -> None:
    with pytest.raises(SettingsError, match="unknown protocol 'fats'; did you mean 'fast'"):
        expand(recipe(), ["fats"])
    with pytest.raises(SettingsError, match="--only: unknown job 'hearts-medcl-s0'; did you mean"):
        choose(expand(recipe()), ["hearts-medcl-s0"])
    assert names(choose(expand(recipe()), ["livers-*-s1"])) == ["livers-medcl-fast-s1", "livers-partial-ce-fast-s1"]


def test_two_jobs_of_one_name_are_refused() -> None:
    blocks = {"a": {"settings": {"batch_size": 2}}, "b": {}, "c": {"cases": [5]}}
    jobs = expand(recipe(jobs=blocks, seeds=0, methods=["medcl"], data={"h": PLAIN["data"]["hearts"]}))
    assert names(jobs) == ["a-h-medcl-fast-s0", "h-medcl-fast-s0", "h-medcl-n5-fast-s0"]


def test_keys_follow_what_matters_and_nothing_else() -> None:
    job = expand(recipe())[0]
    from dataclasses import replace

    moved = replace(job, entry=job.entry.model_copy(update={"folder": "elsewhere"}), name="renamed", method="called so")
    assert moved.key == job.key
    assert replace(job, fingerprint="other files").key != job.key
    assert replace(job, settings={**job.settings, "batch_size": 3}).key != job.key
    scored = replace(job, scoring=job.scoring.model_copy(update={"tolerance_mm": 1.0}))
    assert scored.key == job.key
    assert scored.scoring_key != job.scoring_key


def test_a_job_comes_back_from_its_file(tmp_path: Path) -> None:
    job = expand(recipe(cases=[("a", "b")]))[0]
    tmp_path.mkdir(exist_ok=True)
    job.save(tmp_path)
    again = Job.load(tmp_path)
    assert again.key == job.key
    assert again.scoring_key == job.scoring_key


def test_registered_methods_are_found() -> None:
    assert "dense" in registered("all")
    assert "dense" not in registered("strokes")
    assert set(recipe(methods="strokes").methods) == set(registered("strokes"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_committed_recipes_are_sound(path: Path) -> None:
    chosen = load_recipe(path)
    assert "fast" in chosen.protocols
    for protocol in chosen.protocols:
        for job in expand(chosen, [protocol]):
            configure(job.settings)
            if protocol == "fast":
                assert job.minutes is None or job.minutes <= 6
