"""From finished jobs to tables: numbers that one can check by hand."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medcl.benchmark import Recipe
from medcl.benchmark.jobs import Job, expand
from medcl.benchmark.markdown import page, render
from medcl.benchmark.results import TIDY, Results, load_results, recipes_in, write_results
from medcl.benchmark.run import remember
from medcl.benchmark.tables import (
    _at_tenths,
    curve_table,
    notes,
    overall_rank_table,
    pair_table,
    rank_table,
    score_table,
    summary_table,
)
from medcl.errors import DataError
from medcl.evaluation.blocks import Table

RECIPE = Recipe.parse(
    {
        "name": "made-up",
        "data": {"hearts": {"folder": "hearts", "part": "Ts"}},
        "methods": {"good": {"method": "medcl"}, "bad": {"method": "partial-ce"}},
        "seeds": [0, 1],
        "protocols": {"fast": {"budget": "10steps"}},
    }
)


@pytest.fixture
def jobs() -> list[Job]:
    return [replace(job, fingerprint="files") for job in expand(RECIPE)]


@pytest.fixture
def results(jobs: list[Job], tmp_path: Path, finish: Callable[..., None]) -> Results:
    """Good: 0.8 and 0.9 with seed 0, 0.6 and 0.9 with seed 1; bad: 0.1 and 0.3 with seed 0, seed 1 is not finished."""
    remember(RECIPE, jobs, tmp_path / "made-up")
    finish(jobs[0], tmp_path, {"a": 0.8, "b": 0.9})
    finish(jobs[1], tmp_path, {"a": 0.0, "b": 0.3})
    finish(jobs[2], tmp_path, {"a": 0.6, "b": 0.9}, steps=12)
    return load_results(tmp_path, "made-up")


def cells(table: Table | None, row: int) -> list[object]:
    assert table is not None
    return list(table.rows[row])


def test_groups_hold_what_can_be_compared(results: Results) -> None:
    (group,) = results.groups
    assert group.title == "hearts, fast"
    assert list(group.methods) == ["good", "bad"]
    assert group.scores("good", "dice").tolist() == [[0.8, 0.9], [0.6, 0.9]]
    assert group.scores("good", "dice", view="none")[0] == pytest.approx([0.7, 0.8])
    assert results.unfinished == ["hearts-bad-fast-s1"]


def test_score_table_by_hand(results: Results) -> None:
    table = score_table(results.groups[0])
    assert table.columns == ["Method", "Seeds", "Dice", "HD95 mm", "Not found", "Dice, all pieces", "SD over seeds"]
    good, bad = cells(table, 0), cells(table, 1)
    assert good[:2] == ["good", "0, 1"]
    assert str(good[2]).startswith("0.800\n")
    assert good[4:] == ["0", "0.700", "0.071"]  # means 0.85 and 0.75
    assert str(bad[2]).startswith("0.150\n")
    assert bad[3] == "7.0"  # one case, no interval
    assert bad[4] == "1"


def test_tests_and_ranks_say_what_two_cases_cannot(results: Results) -> None:
    group = results.groups[0]
    table = pair_table(group, None)
    assert cells(table, 0)[:2] == ["good - bad", "+0.650"]
    assert cells(table, 0)[3] == "2 : 0"
    assert table is not None
    assert "With 2 cases no p-value can be below 0.500" in table.caption
    assert cells(pair_table(group, "bad"), 0)[:2] == ["bad - good", "-0.650"]
    assert cells(rank_table(group), 0) == ["good", "1", "1 to 1", "100%", ""]


def test_the_summary_sets_a_method_beside_the_best_other_and_the_bound(results: Results) -> None:
    groups = {"made-up": results.groups[0]}
    row = cells(summary_table(groups, "good", bound="dense"), 0)
    assert row[0] == "made-up"
    assert str(row[1]).startswith("0.800\n")
    assert row[2:] == ["2 seeds", "bad 0.150, 1 seed", "-", "-"]
    assert cells(summary_table(groups, "bad", bound="good"), 0)[3:] == ["-", "0.800, 2 seeds", "19%"]
    assert summary_table(groups, "unknown", bound="dense") is None


def test_of_many_unfinished_jobs_some_are_named(results: Results) -> None:
    many = replace(results, unfinished=[f"job{n}" for n in range(9)])
    assert notes(many)[0] == "9 jobs are not finished: job0, job1, job2, job3, job4, job5 and 3 more."


def test_a_validation_a_moment_after_its_tenth_counts_for_it() -> None:
    assert _at_tenths([6.1, 12.2, 60.3], [0.4, 0.6, 0.9]) == [0.4, *[0.6] * 8, 0.9]


def test_curves_are_means_over_seeds_at_tenths(results: Results) -> None:
    assert cells(curve_table(results.groups[0]), 0) == ["good", "-", "-", "-", "-", *["0.300"] * 5, "0.600"]


def test_notes_tell_what_spoils_a_comparison(
    results: Results, jobs: list[Job], tmp_path: Path, finish: Callable[..., None]
) -> None:
    assert notes(results) == ["1 jobs are not finished: hearts-bad-fast-s1."]
    finish(
        jobs[3],
        tmp_path,
        {"a": 0.1, "b": 0.2},
        code={"commit": "def", "changed": True},
        machine={"processor": "another"},
        trained_with="other",
    )
    words = " ".join(notes(load_results(tmp_path, "made-up")))
    assert "different states of the code: abc, def with changes" in words
    assert "different machines" in words
    assert "seeds of bad were trained with different default settings" in words


def test_overall_ranks_need_two_groups(
    results: Results, jobs: list[Job], tmp_path: Path, finish: Callable[..., None]
) -> None:
    assert overall_rank_table(results.groups) is None
    more = RECIPE.model_copy(update={"cases": (None, 5)})
    few = [replace(job, fingerprint="files") for job in expand(more) if job.cases == 5]
    remember(more, [*jobs, *few], tmp_path / "made-up")
    finish(few[0], tmp_path, {"a": 0.1, "b": 0.1})
    finish(few[1], tmp_path, {"a": 0.2, "b": 0.2})
    both = load_results(tmp_path, "made-up")
    assert [group.title for group in both.groups] == ["hearts, fast", "hearts, fast, strokes in 5 cases"]
    table = overall_rank_table(both.groups)
    assert cells(table, 0) == ["bad", "1.50", "2", "1"] or cells(table, 0) == ["good", "1.50", "1", "2"]


def test_the_tidy_table_has_a_line_per_number(results: Results, tmp_path: Path) -> None:
    write_results(tmp_path, "made-up")
    with (tmp_path / "made-up" / "results.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == TIDY
    assert len(rows) == 3 * 2 * 2 * 5  # jobs, views, cases, metrics
    found = [
        r["value"] for r in rows if r["job"] == "hearts-good-fast-s1" and r["view"] == "auto" and r["metric"] == "dice"
    ]
    assert found == ["0.6", "0.9"]


def test_pages_survive_missing_data_and_say_so(results: Results, tmp_path: Path) -> None:
    folder = write_results(tmp_path, "made-up")
    assert "No pictures: " in (folder / "report.html").read_text(encoding="utf-8")
    assert page(results).startswith("# made-up\n\n- 1 jobs are not finished")
    assert recipes_in(tmp_path) == ["made-up"]


def test_a_job_that_the_recipe_dropped_is_no_longer_reported(results: Results, jobs: list[Job], tmp_path: Path) -> None:
    smaller = RECIPE.model_copy(update={"methods": {"good": RECIPE.methods["good"]}})
    remember(smaller, [job for job in jobs if job.method == "good"], tmp_path / "made-up")
    assert {outcome.method for outcome in load_results(tmp_path, "made-up").outcomes} == {"good"}


def test_what_was_not_run_is_an_error(jobs: list[Job], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no benchmark 'other' was run here; there are: none"):
        load_results(tmp_path, "other")
    remember(RECIPE, jobs, tmp_path / "made-up")
    with pytest.raises(DataError, match="no job of 'made-up' is finished yet"):
        load_results(tmp_path, "made-up")


def test_markdown_cells_stay_in_their_column() -> None:
    lines = render(Table("About", ["a", "b"], [["x|y", "0.5\n0.4 to 0.6"]]))
    assert lines == ["About", "", "| a | b |", "|---|---|", "| x\\|y | 0.5 (0.4 to 0.6) |", ""]
