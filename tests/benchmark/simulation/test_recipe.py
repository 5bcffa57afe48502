"""Recipes of simulated annotations: what they say, and what they are told when something is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medcl.benchmark.simulation.jobs import AnnotationJob, expand
from medcl.benchmark.simulation.recipe import AnnotationRecipe, load_annotation_recipe
from medcl.errors import SettingsError

RECIPES = sorted((Path(__file__).resolve().parents[3] / "benchmarks" / "recipes").glob("annotation-*.yaml"))
BASIC: dict[str, Any] = {
    "name": "x",
    "data": {"hearts": {"folder": "hearts"}},
    "strategies": ["foreground-random", "random"],
}


def recipe(**changes: Any) -> AnnotationRecipe:
    return AnnotationRecipe.parse({**BASIC, **changes})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_committed_recipes_are_sound(path: Path) -> None:
    found = expand(load_annotation_recipe(path))
    assert len({job.name for job in found}) == len(found)
    assert {job.folder(Path()).name for job in found if job.what == "start"} == {
        job.beginning().folder(Path()).name for job in found if job.what == "curve"
    }


def test_seconds_are_read_as_text() -> None:
    spending = recipe(spending={"start": "2m", "round": "90s", "rounds": 2}).spending
    assert (spending.start, spending.round, spending.total) == (120, 90, 300)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": ["foreground-randm"], "reference": "foreground-randm"}, "foreground-random"),
        ({"reference": "entropy"}, "strategy of the recipe"),
        ({"spending": {"start": "3strokes"}}, "seconds of drawing such as 90s"),
        ({"training": {"then": "5m"}}, "budget in steps"),
        ({"start": {"strategy": "entropy"}}, "no model yet"),
        ({"strategies": {"foreground-random": {"settings": {"shre": 1}}}}, "shre"),
        ({"seeds": [1, 1]}, "each seed once"),
        ({"strategy": ["random"]}, "strategies"),
        ({"data": {"a/b": {"folder": "x"}}}, "name of a folder"),
        ({"strategies": {"start": {"strategy": "random"}}, "reference": "start"}, "got 'hearts-start' for the start"),
        (
            {
                "data": {"a": {"folder": "x"}, "a-b": {"folder": "x"}},
                "strategies": {"c": {"strategy": "random"}, "b-c": {"strategy": "random"}},
                "reference": "c",
            },
            "'a-b-c' for strategy b-c on data set a and for strategy c on data set a-b",
        ),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        recipe(**changes)


def test_only_the_foreground_aware_strategy_is_told_what_slices_show() -> None:
    jobs = [job for job in expand(recipe(seeds=0)) if job.asking is not None and job.what == "curve"]
    assert {job.label: job.asking.informed for job in jobs if job.asking} == {
        "foreground-random": True,
        "random": False,
    }


def test_all_strategies_of_a_seed_go_on_from_one_start() -> None:
    jobs = expand(recipe(seeds=[0, 1]))
    starts = {job.name: job for job in jobs if job.what == "start"}
    for job in jobs:
        if job.what == "curve":
            assert job.after is not None
            assert job.beginning() == starts[job.after]
            assert job.beginning().key == starts[job.after].key


def test_keys_change_with_what_matters_and_with_nothing_else(tmp_path: Path) -> None:
    def keys(**changes: Any) -> dict[str, str]:
        return {job.name: job.key for job in expand(recipe(**changes))}

    base = keys()
    assert keys(data={"hearts": {"folder": "elsewhere/hearts"}}, title="other") == base
    longer = keys(spending={"rounds": 5})
    assert longer["hearts-start-s0"] == base["hearts-start-s0"]  # the start is the same, however long it goes on
    assert longer["hearts-random-s0"] != base["hearts-random-s0"]
    assert keys(draw={"preset": "quick"})["hearts-start-s0"] != base["hearts-start-s0"]
    job = expand(recipe())[0]
    job.save(tmp_path)
    assert AnnotationJob.load(tmp_path) == job


def test_partly_drawn_slices_say_nothing_about_what_is_not_drawn(tmp_path: Path) -> None:
    whole = expand(recipe())[0]
    single = expand(recipe(draw={"what": "class"}))[0]
    assert whole.settings(0, None)["presence"] == "slice"
    assert single.settings(0, None)["presence"] == "never"
    assert expand(recipe(draw={"start": "class"}))[0].settings(0, None)["presence"] == "never"


def test_later_rounds_go_on_from_the_last_model(tmp_path: Path) -> None:
    job = expand(recipe(training={"first": "9steps", "then": "4steps", "settings": {"method": "partial-ce"}}))[0]
    first, later = job.settings(0, None), job.settings(2, tmp_path)
    assert first["budget"] == {"steps": 9}
    assert later["budget"] == {"steps": 4}
    assert later["backbone"]["weights"] == str(tmp_path)
    assert later["method"] == {"name": "partial-ce"}
    assert first["seed"] != later["seed"]
