"""Write `dataset.json`, and the dataset layout where the folder has another one. The user's files are never moved."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcl.data.dataset import Dataset
from medcl.data.init.answers import Answers, Meaning, Question, label_content, open_questions, percent
from medcl.data.init.survey import Survey, survey
from medcl.data.labels import parse_labels
from medcl.data.layout import DICOM_ENDINGS, split_ending
from medcl.errors import DataError
from medcl.files import atomic_folder, write_json


@dataclass(frozen=True)
class InitReport:
    """What was written.

    Attributes:
        path: The `dataset.json`.
        content: What it holds.
        survey: What was found before.
        cases: Number of images per split: 'Tr', 'Val', 'Ts'.
        notes: What the user should know, one sentence each.
    """

    path: Path
    content: dict[str, Any]
    survey: Survey
    cases: dict[str, int]
    notes: tuple[str, ...]


def init_dataset(
    folder: str | Path,
    *,
    background: Meaning = None,
    ignore: Meaning = None,
    classes: Mapping[int, str] | None = None,
    channels: Sequence[str] = (),
    label_background: Meaning = None,
    label_ignore: Meaning = None,
    label_classes: Mapping[int, str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    name: str | None = None,
    sources: Mapping[str, Sequence[str]] | None = None,
    out: str | Path | None = None,
    copy: bool = False,
    force: bool = False,
    found: Survey | None = None,
) -> InitReport:
    """Describe a folder of images and maps in a `dataset.json`.

    Args:
        folder: Folder in the dataset layout, or any other together with `sources` and `out`.
        background: File value of background strokes ('none' where nobody drew any), or of background in dense labels
            where there are no scribbles.
        ignore: File value of *not annotated*; needed where there are scribbles.
        classes: File value -> name of every other value.
        channels: Name of every image channel.
        label_background: As `background` for dense labels beside scribbles, where they differ.
        label_ignore: As `ignore` for dense labels.
        label_classes: As `classes` for dense labels.
        groups: Name -> class names: unions that the anatomy terms use. Default: left to `Dataset`.
        name: Name of the data set; default: name of `out` or the folder.
        sources: Dataset folder name ('imagesTr', 'scribblesTr', 'labelsVal', ...) -> patterns such as
            'images/{case}.png'; several for images are channels.
        out: New folder for the dataset layout; needed where `folder` has another one.
        copy: Copy files to `out` instead of linking to them.
        force: Replace a `dataset.json` that is there.
        found: The survey, if it was made already.

    Returns:
        What was written and what is worth knowing.

    Raises:
        DataError: A question is not answered (all of them are listed, with the values and their shares), answers
            contradict each other, a map is unreadable, or something would be overwritten.
    """
    folder = Path(folder)
    check_target(folder, sources, out, force)
    found = found or survey(folder, sources)
    answers = Answers(
        background,
        ignore,
        dict(classes or {}),
        label_background,
        label_ignore,
        dict(label_classes or {}),
        tuple(channels),
    )
    if found.unreadable:
        first = next(iter(found.unreadable.values()))
        more = len(found.unreadable) - 1
        raise DataError(
            first + (f" {more} more files cannot be read: {', '.join(list(found.unreadable)[1:6])}." * (more > 0))
        )
    questions = open_questions(found, answers)
    if questions:
        raise DataError(_unanswered(found, questions))
    if len(answers.channels) != found.channels:
        raise DataError(
            f"{folder}: expected {found.channels} channel names, as many as the images have, got "
            f"{len(answers.channels)}: {', '.join(answers.channels)}."
        )
    if not found.values and not answers.classes:
        raise DataError(f"{folder}: there are no scribbles or labels; name the classes you will draw: --class 1=NAME.")
    content = _content(found, answers, groups, name or (Path(out) if out else folder).resolve().name)
    parse_labels(content, str(folder / "dataset.json"))
    target = folder
    if out is not None:
        target = Path(out)
        with atomic_folder(target) as temporary:
            _place(found, temporary, target, copy)
            write_json(temporary / "dataset.json", content)
    else:
        write_json(target / "dataset.json", content)
    notes = _notes(found, answers, content)
    if not any(len(key.split("/")) > 1 for key in found.files):  # with one folder per annotator, opening needs a choice
        notes += [problem.message for problem in Dataset.open(target, strict=False).problems]
    cases = {split: len(found.files.get(f"images{split}", {})) for split in ("Tr", "Val", "Ts")}
    return InitReport(target / "dataset.json", content, found, cases, tuple(notes))


def check_target(
    folder: Path, sources: Mapping[str, Sequence[str]] | None, out: str | Path | None, force: bool
) -> None:
    """Say before any question whether the answer could be written.

    Raises:
        DataError: `dataset.json` is there (without `force`), or `out` is needed or is not empty.
    """
    if out is None:
        if sources:
            raise DataError(f"{folder}: patterns were given, so a folder for the dataset layout is needed: --out DIR.")
        if (folder / "dataset.json").exists() and not force:
            raise DataError(f"{folder / 'dataset.json'}: is there already; replace it with --force.")
    elif Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise DataError(f"{out}: expected a new or empty folder; choose another --out or remove it yourself.")


def _content(found: Survey, answers: Answers, groups: Mapping[str, Sequence[str]] | None, name: str) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": name,
        "channel_names": {str(index): channel for index, channel in enumerate(answers.channels)},
        **label_content(found, answers),
    }
    if groups is not None:
        content["groups"] = {group: list(members) for group, members in groups.items()}
    content["numTraining"] = len(found.files["imagesTr"])
    endings = {split_ending(path)[1] for cases in found.files.values() for paths in cases.values() for path in paths}
    if len(endings) == 1:  # nnU-Net knows one ending per data set; medcl does not need the key
        content["file_ending"] = endings.pop()
    return content


def _unanswered(found: Survey, questions: Sequence[Question]) -> str:
    tables = []
    for kind, counts in found.values.items():
        listed = ", ".join(f"{count.value} ({percent(count.share)}, {count.files} files)" for count in counts)
        tables.append(f"values in {kind}: {listed}")
    wanted = []
    for question in questions:
        what = "VALUE" if question.value is None and question.key != "channels" else "NAME"
        text = f"{question.option} {what if question.value is None else f'{question.value}=NAME'}"
        wanted.append(text + (f" (proposal {question.proposal}: {question.reason})" if question.proposal else ""))
    if any(question.key in ("ignore", "background") for question in questions):
        wanted.append("--class VALUE=NAME for every other value")
    return f"{found.folder}: " + "; ".join([*tables, "say what they mean with " + ", ".join(wanted)]) + "."


def _place(found: Survey, temporary: Path, target: Path, copy: bool) -> None:
    """Link or copy every file to its place in the dataset layout below `temporary`, which will become `target`."""
    for key, cases in found.files.items():
        base = temporary / key
        base.mkdir(parents=True, exist_ok=True)
        for case, paths in cases.items():
            for index, path in enumerate(paths):
                source = (found.folder / path).resolve()
                ending = "" if source.is_dir() else split_ending(path)[1]
                if ending in DICOM_ENDINGS and not key.startswith("images"):
                    raise DataError(f"{source}: maps must be image files, not DICOM; convert it first.")
                suffix = f"_{index:04d}" if key.startswith("images") else ""
                destination = base / f"{case}{suffix}{ending}"
                if copy:
                    (shutil.copytree if source.is_dir() else shutil.copy2)(source, destination)
                    continue
                # The temporary folder lies beside the target, so the relative way is the same from both.
                way = os.path.relpath(source, (target / key).resolve())
                try:
                    destination.symlink_to(way, target_is_directory=source.is_dir())
                except OSError as error:
                    raise DataError(
                        f"{destination}: links cannot be made here ({error.strerror}); use --copy."
                    ) from None


def _notes(found: Survey, answers: Answers, content: Mapping[str, Any]) -> list[str]:
    notes = []
    values = {count.value for counts in found.values.values() for count in counts}
    for value, name in sorted({**answers.classes, **answers.label_classes}.items()):
        if found.values and value not in values:
            notes.append(f"Class '{name}' (value {value}) occurs in no file.")
    drawn = found.values.get("scribbles", ())
    if drawn and answers.ignore not in {count.value for count in drawn}:
        notes.append(f"The ignore value {answers.ignore} occurs in no scribble file.")
    if drawn and answers.background == "none":
        notes.append("Nobody drew background: training needs background strokes or the model will flood it.")
    if len(found.values) == 2 and "scribble_labels" not in content:
        notes.append("Dense labels are read with the same values as the scribbles.")
    return notes
