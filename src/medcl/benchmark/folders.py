"""The dataset folder that a job trains on: the given one, or one beside it with other strokes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from medcl.benchmark.jobs import Job
from medcl.benchmark.recipe import DataEntry, Simulation
from medcl.data.dataset import Dataset
from medcl.data.io import read_geometry, write_map
from medcl.data.labels import UNLABELLED
from medcl.data.layout import SPLITS
from medcl.errors import DataError, unknown_name
from medcl.files import atomic_folder, write_json

if TYPE_CHECKING:
    from medcl.scribbles import ScribbleSettings


def open_source(entry: DataEntry) -> Dataset:
    """Open the folder that an entry names.

    Raises:
        DataError: Not a dataset folder, or strokes of several people and none chosen.
    """
    people = _people(entry)
    return Dataset.open(entry.folder, scribbles=people[0] if people else entry.scribbles)


def check_entry(entry: DataEntry, *, from_labels: bool) -> Dataset:
    """Open a data set and refuse what could not be trained or scored.

    Args:
        entry: What the recipe says.
        from_labels: Whether the method learns from dense labels.

    Returns:
        The source folder, opened.

    Raises:
        MedclError: What is missing, in one sentence.
    """
    dataset = open_source(entry)
    training = dataset.cases("Tr")
    if not any(case.label for case in dataset.cases(entry.part)):
        raise DataError(f"{dataset.folder}: part {entry.part} has no dense labels to score; choose another part.")
    if entry.simulate is not None:
        simulation_settings(entry.simulate)
        if not any(case.label for case in training):
            raise DataError(f"{dataset.folder}: simulated strokes need dense labels in labelsTr, found none.")
    elif not any(case.scribble for case in training) and not from_labels:
        raise DataError(f"{dataset.folder}: expected strokes in scribblesTr, found none; simulate them (key simulate).")
    if from_labels and not any(case.label for case in training):
        raise DataError(
            f"{dataset.folder}: a method that learns from dense labels needs labelsTr, found none; "
            "leave the method out for this data set."
        )
    people = [*_people(entry), *([entry.left_out_strokes] if entry.left_out_strokes else [])]
    for person in people:
        Dataset.open(entry.folder, scribbles=person)
    names = [case.id for case in training]
    for person, cases in entry.leave_out.items():
        if person not in people:
            raise DataError(f"leave_out: {unknown_name('annotator', person, people)}")
        for name in cases:
            if name not in names:
                raise DataError(f"leave_out of {person}: {unknown_name('training case', name, names)}")
    return dataset


def simulation_settings(simulation: Simulation) -> ScribbleSettings:
    """Return the settings of the simulator.

    Raises:
        SettingsError: An unknown preset, setting or unit.
    """
    from medcl.scribbles import ScribbleSettings, StrokeBudget

    values: dict[str, Any] = {}
    if simulation.preset is not None:
        from medcl.scribbles import preset

        values = preset(simulation.preset).model_dump()
    if simulation.budget is not None:
        values["budget"] = StrokeBudget.from_text(simulation.budget).model_dump()
    for key, value in simulation.settings.items():
        both = isinstance(value, dict) and isinstance(values.get(key), dict)
        values[key] = {**values[key], **value} if both else value
    return ScribbleSettings.parse(values, where="simulated strokes")


def training_folder(job: Job, out: Path) -> Path:
    """Return the dataset folder that a job trains on; made where the strokes are not those of the folder itself.

    Any number of processes may ask for the same folder at once: one makes it.

    Args:
        job: The job.
        out: The benchmark's folder; made folders lie below `strokes`.
    """
    entry = job.entry
    if entry.simulate is None and entry.annotators is None:
        return Path(entry.folder)
    wish = entry.model_dump(mode="json", include={"simulate", "annotators", "leave_out"})
    key = hashlib.sha256(json.dumps([wish, job.fingerprint], sort_keys=True).encode()).hexdigest()[:8]
    folder = out / "strokes" / f"{job.data}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not (folder / "dataset.json").exists() or not (folder / "imagesTr").exists():
            _make(folder, entry)
    return folder


def _make(folder: Path, entry: DataEntry) -> None:
    if entry.simulate is not None:
        from medcl.scribbles.write import scribble

        settings = simulation_settings(entry.simulate)
        scribble(entry.folder, folder, settings=settings, seed=entry.simulate.seed, overwrite=True)
        return
    source = open_source(entry)
    content = json.loads(json.dumps(source.content))
    ignore = source.labels.strokes.ignore
    if ignore is None:
        ignore = 1 + max(value for value in source.labels.strokes.values if value is not None)
        content["labels"]["ignore"] = ignore
    table = np.array([ignore if value is None else value for value in source.labels.strokes.values])
    with atomic_folder(folder) as temporary:
        for split in SPLITS:
            for kind in ("images", "labels"):
                _link(source.folder / f"{kind}{split}", temporary / f"{kind}{split}")
        for name, strokes, path in _put_together(source, entry):
            values = np.where(strokes == UNLABELLED, ignore, table[np.maximum(strokes, 0)])
            write_map(temporary / "scribblesTr" / name, values, read_geometry(path))
        write_json(temporary / "dataset.json", content)


def _put_together(source: Dataset, entry: DataEntry) -> Any:
    """Yield file name, the people's strokes put together (Z, Y, X), and a file with their geometry, case by case."""
    people = {name: Dataset.open(entry.folder, scribbles=name) for name in _people(entry)}
    cases = {name: {case.id: case for case in opened.cases("Tr")} for name, opened in people.items()}
    for case in source.cases("Tr"):
        maps, path = [], None
        for name, opened in people.items():
            theirs = cases[name][case.id]
            if theirs.scribble is not None and case.id not in entry.leave_out.get(name, ()):
                maps.append(opened.read_scribble(theirs))
                path = theirs.scribble
        if path is not None:
            yield path.name, merge_strokes(maps), path


def merge_strokes(maps: list[np.ndarray]) -> np.ndarray:
    """Put several people's strokes together.

    Args:
        maps: Class indices (Z, Y, X) with `UNLABELLED`, one per person.

    Returns:
        The class where all who drew agree; `UNLABELLED` where nobody drew or two disagree.
    """
    merged = np.array(maps[0])
    disputed = np.zeros(merged.shape, bool)
    for other in maps[1:]:
        both = (merged != UNLABELLED) & (other != UNLABELLED) & (merged != other)
        disputed |= both
        merged = np.where(merged == UNLABELLED, other, merged)
    merged[disputed] = UNLABELLED
    return merged


def _people(entry: DataEntry) -> tuple[str, ...]:
    return entry.annotators or ()


def _link(source: Path, target: Path) -> None:
    if not source.is_dir():
        return
    try:
        os.symlink(source.resolve(), target, target_is_directory=True)
    except OSError:  # a system or disk without links
        shutil.copytree(source, target)
