"""Dataset folders that are made for a job: simulated strokes, several people's strokes put together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcl.benchmark import Recipe
from medcl.benchmark.folders import check_entry, merge_strokes, training_folder
from medcl.benchmark.jobs import Job, expand
from medcl.benchmark.recipe import DataEntry
from medcl.data.dataset import Dataset
from medcl.data.io import read_geometry, write_map
from medcl.errors import MedclError
from medcl.phantom import make_phantom


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hearts with dense labels and the strokes of two people, who are the same person but for one case."""
    folder = make_phantom(
        tmp_path_factory.mktemp("data") / "hearts", "heart", cases=2, validation=0, test=1, size=(3, 48, 48), dense=True
    )
    drawn = sorted((folder / "scribblesTr").glob("*.nii.gz"))
    for person in ("one", "two"):
        (folder / "scribblesTr" / person).mkdir()
        for path in drawn:
            (folder / "scribblesTr" / person / path.name).write_bytes(path.read_bytes())
    for path in drawn:
        path.unlink()
    first = folder / "scribblesTr" / "two" / drawn[0].name
    geometry = read_geometry(first)
    strokes = np.full(geometry.size, 4, np.uint8)
    strokes[1, 5, 5:9] = 3
    write_map(first, strokes, geometry)
    return folder


def job_for(folder: Path, **entry: Any) -> Job:
    recipe = Recipe.parse(
        {
            "name": "r",
            "data": {"hearts": {"folder": str(folder), "part": "Ts", **entry}},
            "methods": ["partial-ce"],
            "protocols": {"fast": {"budget": "1steps"}},
        }
    )
    return replace(expand(recipe)[0], fingerprint="files")


def test_merged_strokes_by_hand() -> None:
    one, two, three = (
        np.array([[values]], np.int16) for values in ([0, 1, -1, -1, 1], [0, 2, 2, -1, -1], [0, 1, -1, -1, 1])
    )
    assert merge_strokes([one, two, three])[0, 0].tolist() == [0, -1, 2, -1, 1]
    assert merge_strokes([one])[0, 0].tolist() == one[0, 0].tolist()
    assert merge_strokes([one, two])[0, 0].tolist() == merge_strokes([two, one])[0, 0].tolist()


def test_people_are_put_together(hearts: Path, tmp_path: Path) -> None:
    job = job_for(hearts, annotators=["one", "two"], left_out_strokes="one")
    check_entry(job.entry, from_labels=False)
    folder = training_folder(job, tmp_path)
    merged, alone = Dataset.open(folder), Dataset.open(hearts, scribbles="one")
    first = merged.cases("Tr")[0]
    drawn = merged.read_scribble(first)
    before = alone.read_scribble(alone.cases("Tr")[0])
    assert (drawn[1, 5, 5:9][before[1, 5, 5:9] == -1] == 3).all()
    assert (drawn[before >= 0] == before[before >= 0])[drawn[before >= 0] >= 0].all()
    assert [case.id for case in merged.cases("Ts")] == [case.id for case in alone.cases("Ts")]


def test_strokes_known_to_be_wrong_are_left_out(hearts: Path, tmp_path: Path) -> None:
    name = Dataset.open(hearts, scribbles="one").cases("Tr")[0].id
    job = job_for(hearts, annotators=["two"], leave_out={"two": [name]})
    check_entry(job.entry, from_labels=False)
    made = Dataset.open(training_folder(job, tmp_path))
    assert [case.scribble is None for case in made.cases("Tr")] == [True, False]


def test_simulated_strokes_agree_with_the_labels_and_are_made_once(hearts: Path, tmp_path: Path) -> None:
    job = job_for(hearts, simulate={"seed": 3, "budget": "2%"}, annotators=None)
    source = replace(job, entry=job.entry.model_copy(update={"scribbles": None}))
    folder = training_folder(_with_one_folder(source, hearts, tmp_path), tmp_path)
    made = Dataset.open(folder)
    for case in made.cases("Tr"):
        strokes, label = made.read_scribble(case), made.read_label(case)
        assert 0 < (strokes >= 0).mean() <= 0.02
        assert (strokes[strokes > 0] == label[strokes > 0]).mean() > 0.95
    written = (folder / "dataset.json").stat().st_mtime_ns
    assert training_folder(_with_one_folder(source, hearts, tmp_path), tmp_path) == folder
    assert (folder / "dataset.json").stat().st_mtime_ns == written


def _with_one_folder(job: Job, hearts: Path, tmp_path: Path) -> Job:
    """The same data without drawn strokes and without a value for ignore: the simulator needs neither."""
    plain = tmp_path / "plain"
    if not plain.exists():
        plain.mkdir()
        for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            (plain / name).symlink_to(hearts / name)
        content = json.loads((hearts / "dataset.json").read_text(encoding="utf-8"))
        del content["labels"]["ignore"]
        (plain / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return replace(job, entry=job.entry.model_copy(update={"folder": str(plain)}))


@pytest.mark.parametrize(
    ("entry", "dense", "message"),
    [
        ({"scribbles": "three"}, False, "no scribble folder 'three'"),
        ({"annotators": ["one", "three"]}, False, "no scribble folder 'three'"),
        ({"annotators": ["one"], "leave_out": {"nobody": ["x"]}}, False, "unknown annotator 'nobody'"),
        ({"annotators": ["one"], "leave_out": {"one": ["x"]}}, False, "unknown training case 'x'"),
        ({"annotators": ["one"], "part": "Val"}, False, "part Val has no dense labels"),
        (
            {"scribbles": "one", "simulate": None, "part": "Ts", "left_out_strokes": "nobody"},
            False,
            "no scribble folder 'nobody'",
        ),
    ],
)
def test_what_cannot_be_trained_is_explained(hearts: Path, entry: dict[str, Any], dense: bool, message: str) -> None:
    with pytest.raises(MedclError, match=message):
        check_entry(DataEntry.parse({"folder": str(hearts), "part": "Ts", **entry}), from_labels=dense)


def test_unknown_stroke_settings_are_named(hearts: Path, tmp_path: Path) -> None:
    plain = Path(_with_one_folder(job_for(hearts, annotators=["one"]), hearts, tmp_path).entry.folder)
    for wrong, message in (
        ({"preset": "nope"}, "unknown stroke preset 'nope'"),
        ({"settings": {"tickness": 3}}, "tickness"),
    ):
        with pytest.raises(MedclError, match=message):
            check_entry(DataEntry.parse({"folder": str(plain), "part": "Ts", "simulate": wrong}), from_labels=False)
    with pytest.raises(MedclError, match="found none; simulate them"):
        check_entry(DataEntry.parse({"folder": str(plain), "part": "Ts"}), from_labels=False)
