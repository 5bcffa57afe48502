"""`medcl benchmark` through its runner: listing, refusing, and writing the report again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from medcl.benchmark import BenchmarkResult
from medcl.cli import app
from medcl.phantom import make_phantom


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_phantom(folder / "hearts", "heart", cases=2, validation=1, test=0, size=(2, 48, 48))
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    content = {
        "data": {"hearts": {"folder": "hearts", "part": "Val"}},
        "methods": ["medcl", "partial-ce"],
        "protocols": {"fast": {"budget": "6m"}, "full": {"budget": "1h"}},
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def call(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["benchmark", *map(str, words)])
    return result.exit_code, " ".join(result.output.split())


def test_dry_run_lists_the_jobs_and_writes_nothing(recipe: Path, data: Path, tmp_path: Path) -> None:
    code, said = call(recipe, "--data", data, "--out", tmp_path / "out", "--dry-run")
    assert code == 0
    assert "hearts-medcl-fast-s0 6 min to do" in said
    assert "2 jobs, 2 to do, 0.2 hours of training" in said
    assert not (tmp_path / "out").exists()
    code, said = call(recipe, "--data", data, "--dry-run", "--protocol", "full", "--only", "*-medcl-*")
    assert "1 jobs, 1 to do, 1.0 hours" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "exactly one of the three"),
        (["RECIPE", "--report", "OUT"], "exactly one of the three"),
        (["RECIPE", "--data", "DATA", "--protocol", "fats"], "unknown protocol 'fats'; did you mean 'fast'"),
        (["RECIPE", "--data", "DATA", "--only", "nothing"], "--only: unknown job 'nothing'"),
        (["RECIPE", "--data", "OUT"], "expected a dataset folder, found nothing"),
        (["--report", "OUT"], "no benchmark was run here"),
        (["missing.yaml"], "missing.yaml: cannot be read"),
    ],
)
def test_wrong_calls_are_one_red_line(words: list[str], message: str, recipe: Path, data: Path, tmp_path: Path) -> None:
    names = {"RECIPE": recipe, "DATA": data, "OUT": tmp_path / "out"}
    code, said = call(*(names.get(word, word) for word in words))
    assert code == 1
    assert message in said


@pytest.mark.parametrize(
    ("failed", "missing", "expected", "words"),
    [
        ({}, (), 0, "2 jobs finished, 0 failed, 0 missing"),
        ({"job": "the dog ate it"}, ("job",), 1, "job: the dog ate it"),
        ({}, ("job",), 130, "Run the same command again to go on."),
    ],
)
def test_exit_codes(
    failed: dict[str, str], missing: tuple[str, ...], expected: int, words: str, recipe: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    result = BenchmarkResult(tmp_path, ("a", "b"), failed, missing, not missing)
    monkeypatch.setattr("medcl.benchmark.run_benchmark", lambda *given, **options: result)
    code, said = call(recipe)
    assert code == expected
    assert words in said
