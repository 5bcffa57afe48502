"""What can be understood of a dataset folder, even of a broken one: classes, channels, cases and their files."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcl.data.check.findings import Finding, shorten
from medcl.data.dataset import Dataset
from medcl.data.labels import LabelTable, parse_labels
from medcl.data.layout import SPLITS, Case, Problem, Split, entries, find_cases, find_maps
from medcl.data.raters import Kind, fused_names, how_to_learn, people_of
from medcl.errors import DataError, unknown_name
from medcl.files import read_json

_TODO = {
    "duplicate-file": "Keep one of the files",
    "duplicate-case": "Take the case out of one of the two folders, or rename it if it is another study",
    "unknown-channel": "Rename the file, or name all channels under 'channel_names' in dataset.json",
    "missing-channel": "Add the file, or take the case out",
    "map-without-image": "Add the image, or correct the name so that it equals the image's",
    "stray-file": "Move the file elsewhere, or save it in one of the known formats",
}
_BROKEN = {"map-without-image", "missing-channel"}


@dataclass(frozen=True)
class CaseFiles:
    """A case with the scribbles of every annotator.

    Attributes:
        case: The case as the dataset sees it.
        scribbles: Scribble files by annotator; the annotator is '' where the files lie in `scribblesTr` itself.
        labels: Dense labels by rater, where the case has no label that is nobody's in particular.
    """

    case: Case
    scribbles: dict[str, Path]
    labels: dict[str, Path] = field(default_factory=dict)

    @property
    def annotated(self) -> bool:
        """Whether anybody drew strokes or labels for it."""
        return bool(self.scribbles or self.labels or self.case.label is not None)


@dataclass(frozen=True)
class Contents:
    """A dataset folder as far as it is understood.

    Attributes:
        folder: The folder.
        labels: Classes and file values; None where dataset.json does not say.
        channels: Channel names.
        cases: All cases, training first.
        findings: What is wrong with dataset.json and with file names.
    """

    folder: Path
    labels: LabelTable | None
    channels: tuple[str, ...]
    cases: tuple[CaseFiles, ...]
    findings: tuple[Finding, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index; empty where dataset.json does not say."""
        return self.labels.classes if self.labels else ()

    def relative(self, path: Path) -> str:
        """Return a path relative to the folder, with `/`."""
        return path.relative_to(self.folder).as_posix()


def read_contents(folder: Path, scribbles: str | None = None) -> Contents:
    """Find out what a folder holds without opening an image.

    Args:
        folder: The dataset folder.
        scribbles: One annotator's folder below `scribblesTr` where there are several; default: all of them.

    Returns:
        The contents. What is wrong is listed there; nothing in `dataset.json` or in names of files stops the search.

    Raises:
        DataError: There is no such folder, or no such annotator.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a dataset folder, found {'a file' if folder.exists() else 'nothing'}.")
    people = _annotators(folder, scribbles)
    findings: list[Finding] = []
    try:
        dataset = Dataset.open(folder, scribbles=people[0] or None, strict=False)
    except DataError as error:
        labels, channels = _understand_json(folder, findings, error)
        cases, problems = find_cases(folder, channels, people[0], {}, len(labels.classes) if labels else 0)
    else:
        labels, channels = dataset.labels, dataset.channels
        cases = {split: dataset.cases(split) for split in SPLITS}
        problems = list(dataset.problems)
    findings += [_from_problem(problem, folder, cases) for problem in problems]
    files = _collect(folder, people, cases, findings)
    raters = people_of(folder, "labels")
    if len(people) > 1:
        text = f"the scribble folders hold one folder per annotator: {shorten(people)}; all were checked"
        findings.append(_several("scribbles", people, text))
    if raters and any(one.labels for one in files if one.case.split == "Tr"):
        text = f"labelsTr holds one folder per rater: {shorten(raters)}"
        findings.append(_several("labels", raters, text))
    if not cases["Tr"]:
        findings.append(
            Finding(
                "error",
                "no-training-images",
                None,
                "imagesTr",
                "imagesTr is missing or holds no image",
                "Put images there: imagesTr/<case>_0000.nii.gz and so on",
            )
        )
    return Contents(folder, labels, channels, files, tuple(findings))


def _several(kind: Kind, people: tuple[str, ...], text: str) -> Finding:
    return Finding(
        "note", "several-annotators", None, None, text, how_to_learn(kind, len(people)), {"annotators": list(people)}
    )


def _annotators(folder: Path, wanted: str | None) -> tuple[str, ...]:
    """Return the sub-folders of the scribble folders that are to be checked; ('',) where there are none."""
    people: list[str] = []
    for split in SPLITS:
        base = folder / f"scribbles{split}"
        if base.is_dir() and not entries(base, folders=False)[0]:
            people += sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))
    fused = fused_names(folder, "scribbles")  # made from people's strokes: nobody's own
    people = [name for name in dict.fromkeys(people) if name not in fused or name == (wanted or "").rpartition("/")[2]]
    if wanted is not None:
        name = wanted.rstrip("/").rpartition("/")[2]
        if name not in people:
            raise DataError(f"{folder}: {unknown_name('scribble folder', wanted, people)}")
        return (name,)
    return tuple(people) or ("",)


def _understand_json(
    folder: Path, findings: list[Finding], error: DataError
) -> tuple[LabelTable | None, tuple[str, ...]]:
    """Say why dataset.json cannot be used, and read from it what can be read."""
    path = folder / "dataset.json"
    where = "dataset.json" if path.is_file() else None
    content: Any = None
    labels: LabelTable | None = None
    try:
        content = read_json(path)
        labels = parse_labels(content if isinstance(content, Mapping) else {}, "dataset.json")
    except (DataError, OSError):
        labels = None  # `error` says what is wrong; here it only matters that the classes are not known
    code = "dataset-json"
    todo = "Correct dataset.json, or write it anew with: medcl init"
    if labels is not None and labels.strokes.ignore is None:
        code = "ignore-missing"
        todo = 'Add the value of pixels that nobody annotated: "labels": {..., "ignore": <value>}'
    findings.append(Finding("error", code, None, where, str(error).replace(f"{folder}/", ""), todo))
    declared = content.get("channel_names", content.get("modality")) if isinstance(content, Mapping) else None
    if isinstance(declared, Mapping) and declared:
        return labels, tuple(str(name) for name in declared.values())
    return labels, ("image",)


def _from_problem(problem: Problem, folder: Path, cases: Mapping[Split, list[Case]]) -> Finding:
    todo = _TODO.get(problem.kind, "Correct the name")
    if problem.kind == "map-without-image":
        known = [case.id for split in SPLITS for case in cases[split]]
        near = difflib.get_close_matches(problem.case, known, n=1, cutoff=0.8)
        todo += f"; the nearest name is '{near[0]}'" if near else ""
    severity = "error" if problem.fatal or problem.kind in _BROKEN else "warning"
    file, _, _ = problem.message.partition(":")
    named = file if (folder / file).is_file() else None
    case = None if problem.kind == "stray-file" else problem.case
    return Finding("error" if severity == "error" else "warning", problem.kind, case, named, problem.message, todo)


def _collect(
    folder: Path, people: tuple[str, ...], cases: Mapping[Split, list[Case]], findings: list[Finding]
) -> tuple[CaseFiles, ...]:
    """Put the scribbles of every annotator beside their case."""
    drawn: dict[tuple[Split, str], dict[str, Path]] = {}
    for split in SPLITS:
        for case in cases[split]:
            drawn[split, case.id] = {people[0]: case.scribble} if case.scribble is not None else {}
        for person in people[1:]:
            files, problems = find_maps(folder / f"scribbles{split}" / person)
            for case_id, path in files.items():
                if (split, case_id) in drawn:
                    drawn[split, case_id][person] = path
                else:
                    text = f"{path.relative_to(folder).as_posix()}: no image of this name in images{split}."
                    problems.append(Problem("map-without-image", case_id, text, False))
            findings += [_from_problem(problem, folder, cases) for problem in problems]
    labels: dict[tuple[Split, str], dict[str, Path]] = {}
    for split in SPLITS:
        for rater in people_of(folder, "labels"):
            for case_id, path in find_maps(folder / f"labels{split}" / rater)[0].items():
                labels.setdefault((split, case_id), {})[rater] = path
    return tuple(
        CaseFiles(case, drawn[split, case.id], labels.get((split, case.id), {}) if case.label is None else {})
        for split in SPLITS
        for case in cases[split]
    )
