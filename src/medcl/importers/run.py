"""Turn a download into a dataset folder: find, check, write, all or nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image, write_map
from medcl.data.labels import UNLABELLED
from medcl.data.layout import SPLITS
from medcl.errors import DataError
from medcl.files import atomic_folder, check_place, write_json
from medcl.importers import importers
from medcl.importers.base import Content, Facts, Findings, Importer, Study
from medcl.importers.describe import describe, source_page
from medcl.importers.meaning import Meaning
from medcl.importers.tree import Tree
from medcl.importers.volumes import File, Volume

_ENDING = ".nii.gz"


class ImportFindingsError(DataError):
    """What is wrong with a download, all at once.

    Attributes:
        source: The folder.
        findings: One sentence each.
    """

    def __init__(self, source: Path, findings: list[str]) -> None:
        self.source, self.findings = source, tuple(findings)
        numbered = findings if len(findings) == 1 else [f"({n}) {text}" for n, text in enumerate(findings, 1)]
        super().__init__(f"{source}: {' '.join(numbered)} Nothing was written.")


@dataclass(frozen=True)
class ImportResult:
    """What was written.

    Attributes:
        folder: The dataset folder.
        cases: Number of cases per split: 'Tr', 'Val', 'Ts'.
        labelled: How many of them have a dense label.
        drawn: How many of them have strokes.
        notes: What the user should know, one sentence each.
        facts: Licence, citation and sources.
    """

    folder: Path
    cases: dict[str, int]
    labelled: dict[str, int]
    drawn: dict[str, int]
    notes: tuple[str, ...]
    facts: Facts


def import_dataset(
    name: str,
    source: str | Path,
    out: str | Path,
    *,
    allow_partial: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    **options: Any,
) -> ImportResult:
    """Write a public data set, as it was downloaded and unpacked, as a dataset folder.

    Args:
        name: Name of the importer, such as 'acdc'; `medcl import --list` shows all.
        source: The unpacked download, or any folder above it.
        out: Folder to write; it must not exist or be empty.
        allow_partial: Whether a part of the cases is enough. A case that lacks one of its files is an error anyway.
        progress: Called before each case with cases done, cases in all and the case's id.
        **options: Fields of the importer, such as organs=8 or hold_out=5.

    Returns:
        What was written, and what is worth knowing.

    Raises:
        SettingsError: Unknown name or option.
        ImportFindingsError: Everything that is wrong with names, counts, label values and geometry, in one message;
            nothing is written then.
        DataError: No such folder, or something lies in `out` already.
    """
    importer = importers.get(name).parse(options, where=f"import {name}")
    source, out = Path(source), Path(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DataError(f"{out}: expected no folder or an empty one, got files; choose another name or remove it.")
    check_place(out)
    tree, findings = Tree(source), Findings()
    content = importer.content(tree)
    studies = importer.find(tree, findings)
    if not studies and not findings.errors:
        raise DataError(
            f"{source}: expected files of '{name}' below it, found none; looked for {importer.facts.layout}."
        )
    if findings.absent and not allow_partial:
        hint = "If you have only a part of the data set, pass --allow-partial (allow_partial=True)."
        findings.errors += [*findings.absent, hint]
    if findings.errors:
        raise ImportFindingsError(source, findings.errors)
    notes = findings.notes + findings.absent
    if importer.hold_out:
        studies = hold_out(studies, importer.hold_out)
        notes.append(f"{importer.hold_out} training subjects are the test part (hold_out).")
    studies.sort(key=lambda study: (SPLITS.index(study.split), study.id))
    with atomic_folder(out) as folder:
        writer = _Writer(folder, importer, content)
        for done, study in enumerate(studies):
            if progress is not None:
                progress(done, len(studies), study.id)
            writer.add(study)
        if writer.errors:
            raise ImportFindingsError(source, writer.errors)
        notes += writer.notes()
        cases = Counter(study.split for study in studies)
        write_json(folder / "dataset.json", describe(name, importer, content, cases["Tr"], _ENDING))
        (folder / "SOURCE.md").write_text(source_page(name, importer, notes), encoding="utf-8")
    return ImportResult(
        out,
        {split: cases[split] for split in SPLITS},
        {split: sum(s.label is not None for s in studies if s.split == split) for split in SPLITS},
        {split: sum(s.scribble is not None for s in studies if s.split == split) for split in SPLITS},
        tuple(notes),
        importer.facts,
    )


def hold_out(studies: list[Study], number: int) -> list[Study]:
    """Move labelled training subjects to the test part, in place of the source's own.

    Args:
        studies: All cases.
        number: How many subjects, evenly spread over their sorted names.

    Raises:
        DataError: Fewer than one labelled training subject would be left.
    """
    people = sorted({study.subject or study.id for study in studies if study.split == "Tr" and study.label})
    if number >= len(people):
        raise DataError(f"hold_out: expected fewer than the {len(people)} labelled training subjects, got {number}.")
    chosen = {people[int((index + 0.5) * len(people) / number)] for index in range(number)}
    kept = [study for study in studies if study.split != "Ts"]
    return [
        replace(study, split="Ts", scribble=None)
        if study.split == "Tr" and (study.subject or study.id) in chosen
        else study
        for study in kept
    ]


class _Writer:
    """Reads, checks and writes one case after the other; goes on after an error, to find them all."""

    def __init__(self, folder: Path, importer: Importer, content: Content) -> None:
        self.folder, self.content = folder, content
        self.trust_image = importer.map_header == "image"
        self.errors: list[str] = []
        self._labels = Meaning.of(content.labels, content.classes)
        self._strokes = Meaning.of(content.strokes, content.classes) if content.strokes else None
        self._seen: set[int] = set()
        self._moved = 0

    def add(self, study: Study) -> None:
        """Bring one case into the folder; what is wrong with it goes to `errors`."""
        try:
            image = self._image(study)
        except DataError as error:
            self.errors.append(str(error))
            return
        for kind, volume, meaning in (
            ("labels", study.label, self._labels),
            ("scribbles", study.scribble, self._strokes),
        ):
            if volume is None or meaning is None:
                continue
            try:
                indices = self._map(volume, meaning, image)
            except DataError as error:
                self.errors.append(str(error))
                continue
            path = self.folder / f"{kind}{study.split}" / f"{study.id}{_ENDING}"
            if not self.errors:
                stored = np.where(indices == UNLABELLED, len(self.content.classes) + 1, indices)
                write_map(path, stored, image)

    def notes(self) -> list[str]:
        """Say what was odd without being wrong."""
        found = []
        if never := [name for index, name in enumerate(self.content.classes, 1) if index not in self._seen]:
            found.append(f"no map holds {', '.join(never)}.")
        if self._moved:
            found.append(f"{self._moved} maps had a poorer header than their image; the image's is used.")
        return found

    def _image(self, study: Study) -> Geometry:
        """Read and write all channels of a case; returns the grid that they share."""
        first: Geometry | None = None
        number = 0
        for volume in study.image:
            image = volume.read()
            if image.array.dtype.kind == "f" and not np.isfinite(image.array).any():
                raise DataError(f"{volume.path}: expected an image, got no finite number; copy it again.")
            if first is not None and (differs := first.differences(image.geometry)):
                raise DataError(
                    f"{volume.path}: expected the grid of {study.image[0].path.name}, but it differs in "
                    f"{'; '.join(differs)}."
                )
            first = first or image.geometry
            for channel in image.array:
                if not self.errors:
                    path = self.folder / f"images{study.split}" / f"{study.id}_{number:04d}{_ENDING}"
                    _write_channel(path, volume, channel, image)
                number += 1
        if first is None or number != len(self.content.channels):
            wanted = ", ".join(self.content.channels)
            raise DataError(
                f"{study.image[0].path}: expected {len(self.content.channels)} channels ({wanted}), got {number}."
            )
        return first

    def _map(self, volume: Volume, meaning: Meaning, image: Geometry) -> np.ndarray:
        """Read a map and say what it means on the image's grid."""
        array, geometry = volume.read_map()
        if differs := image.differences(geometry, 1e-2):
            plain = replace(geometry, origin_mm=image.origin_mm, direction=image.direction)
            if not self.trust_image or image.differences(plain, 1e-2):
                raise DataError(
                    f"{volume.path}: expected the grid of its image, but it differs in {'; '.join(differs)}."
                )
            self._moved += 1
        indices = meaning.translate(array, volume.path)
        self._seen.update(np.unique(indices).tolist())
        return indices


def _write_channel(path: Path, volume: Volume, channel: np.ndarray, image: Image) -> None:
    """Copy a file that is in the right format as it is; write anything else."""
    if isinstance(volume, File) and volume.path.name.endswith(_ENDING) and len(image.array) == 1:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(volume.path, path)
    else:
        write_image(path, Image(channel[None], image.geometry))


def options_of(importer: type[Importer]) -> Mapping[str, str]:
    """Return the options of an importer with what they mean."""
    return {name: str(field.description) for name, field in importer.model_fields.items()}
