"""The dataset folder: nnU-Net v2 raw layout plus `scribblesTr` and `imagesVal`, described by `dataset.json`.

    dataset.json
    imagesTr/<case>_0000.<ending>   scribblesTr/<case>.<ending>   labelsTr/<case>.<ending>
    imagesVal, scribblesVal, labelsVal, imagesTs, labelsTs        (each optional)
    scribblesTr/<annotator>/<case>.<ending>   labelsTr/<rater>/<case>.<ending>   (several people, see `data.raters`)

Keys that medcl reads; all others are left to their owners:

- `labels` (required): name -> value, or name -> list of values (a region: becomes a group). `background` is required;
  `ignore` names the value of *not annotated* and is required as soon as there are scribbles.
- `scribble_labels`: name -> value for scribble files only, where their values differ from those of dense labels.
- `groups`: name -> list of class names or values. Default: 'foreground', all structures, if there are two or more.
- `annotated`: case -> list of class names that somebody looked for. Default: all classes in every case.
- `channel_names` (or `modality`): "0" -> name. Default: one channel called 'image'.
- `name`: default is the folder's name. `regions_class_order`: checked, not needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medcl.data.geometry import Image
from medcl.data.io import read_geometry, read_image, read_map
from medcl.data.labels import UNLABELLED, Encoding, LabelTable, parse_labels
from medcl.data.layout import SPLITS, Case, Problem, Split, choose_labels, choose_scribbles, find_cases
from medcl.errors import DataError, unknown_name
from medcl.files import file_digest, read_json

__all__ = ["SPLITS", "Case", "Dataset", "Problem", "Split"]

_GRID_TOLERANCE = 0.1
"""Share of a voxel by which a map's grid may differ from the image's: rounded headers pass, a shift by a voxel
does not. `medcl check` is stricter."""

_digests: dict[tuple[str, int, int], str] = {}


@dataclass(frozen=True, eq=False)
class Dataset:
    """An opened dataset folder. Opening reads `dataset.json` and lists names; images are read when asked for.

    Attributes:
        folder: Where it lies.
        name: Name of the data set.
        channels: Channel names by index.
        labels: Classes, groups and file values.
        problems: What is odd about the names of files; `medcl check` reports them.
        content: All of `dataset.json`, unknown keys too.
    """

    folder: Path
    name: str
    channels: tuple[str, ...]
    labels: LabelTable
    problems: tuple[Problem, ...]
    content: Mapping[str, Any]
    _cases: dict[Split, list[Case]]

    @classmethod
    def open(
        cls, folder: str | Path, *, scribbles: str | None = None, labels: str | None = None, strict: bool = True
    ) -> Dataset:
        """Open a dataset folder.

        Args:
            folder: Folder with `dataset.json`.
            scribbles: Which scribbles to use where `scribblesTr` holds one folder per annotator:
                'scribblesTr/<annotator>' or '<annotator>'.
            labels: Whose dense labels to use where `labelsTr` holds one folder per rater: 'labelsTr/<rater>' or
                '<rater>'; default: the files of `labelsTr` itself. All raters at once: `medcl.RaterSet`.
            strict: Whether fatal problems with file names are an error; `medcl check` lists them instead.

        Raises:
            DataError: No such folder, no usable `dataset.json`, an unknown name or value in it, several annotators
                and none chosen, or (strict) names that leave a choice.
        """
        folder = Path(folder)
        path = folder / "dataset.json"
        if not folder.is_dir():
            raise DataError(f"{folder}: expected a dataset folder, found {'a file' if folder.exists() else 'nothing'}.")
        if not path.is_file():
            inside = sorted(path.parent.name for path in folder.glob("*/dataset.json"))
            if inside:
                raise DataError(f"{folder}: no dataset.json; the data set seems to be {folder / inside[0]}, name that.")
            raise DataError(f"{folder}: no dataset.json; write one with: medcl init {folder}")
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError(f"{path}: expected a JSON object, got {type(content).__name__}.")
        table = parse_labels(content, str(path))
        channels = _channels(content, str(path))
        annotated = _annotated(content.get("annotated"), table.classes, str(path))
        cases, problems = find_cases(
            folder,
            channels,
            choose_scribbles(folder, scribbles),
            annotated,
            len(table.classes),
            rater=choose_labels(folder, labels),
        )
        everyone = [case for split in SPLITS for case in cases[split]]
        for case_id in annotated:
            if case_id not in {case.id for case in everyone}:
                raise DataError(f"{path}: annotated: " + unknown_name("case", case_id, [case.id for case in everyone]))
        drawn = next((case.scribble for case in everyone if case.scribble is not None), None)
        if drawn is not None and table.strokes.ignore is None:
            raise DataError(
                f'{path}: there are scribbles ({drawn.name}) but "labels" names no "ignore"; '
                'add "ignore": <value where nothing was drawn> (medcl init shows the values).'
            )
        fatal = [problem.message for problem in problems if problem.fatal]
        if strict and fatal:
            raise DataError(f"{folder}: " + " ".join(fatal))
        name = str(content.get("name") or folder.resolve().name)
        return cls(folder, name, channels, table, tuple(problems), content, cases)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index; index 0 is background."""
        return self.labels.classes

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Named unions of class indices; `labels.groups_given` tells whether they are the default."""
        return self.labels.groups

    def cases(self, split: Split) -> list[Case]:
        """Return the cases of a split, sorted by id.

        Raises:
            DataError: The split is not one of Tr, Val, Ts.
        """
        if split not in self._cases:
            raise DataError(unknown_name("split", split, SPLITS))
        return list(self._cases[split])

    def read_image(self, case: Case) -> Image:
        """Read all channels of a case.

        Returns:
            Image with array (C, Z, Y, X), C as many as `channels`.

        Raises:
            DataError: A channel is missing, channels differ in grid, or a file is unreadable.
        """
        if case.missing:
            names = ", ".join(f"{self.channels[index]} (_{index:04d})" for index in case.missing)
            raise DataError(f"case {case.id}: expected {len(self.channels)} channels, {names} missing; add the files.")
        image = read_image(case.images[0] if len(case.images) == 1 else case.images)
        if image.array.shape[0] != len(self.channels):
            raise DataError(
                f"{case.images[0]} (case {case.id}): expected {len(self.channels)} channels "
                f"({', '.join(self.channels)}), got {image.array.shape[0]}; correct channel_names or add the files."
            )
        return image

    def read_scribble(self, case: Case) -> np.ndarray:
        """Read the strokes of a case.

        Returns:
            int16 (Z, Y, X): class indices where something was drawn, `UNLABELLED` elsewhere.

        Raises:
            DataError: No scribble, unreadable, unknown values, another grid than the image, or a stroke of a class
                that `annotated` leaves out for this case.
        """
        return self._read_map(case, case.scribble, self.labels.strokes, "scribble")

    def read_label(self, case: Case) -> np.ndarray:
        """Read the dense label of a case.

        Returns:
            int16 (Z, Y, X): class indices; `UNLABELLED` where the file holds `ignore`, and in place of background
            where `annotated` leaves background out for this case: such pixels may be a class nobody looked for.

        Raises:
            DataError: As for `read_scribble`.
        """
        return self._read_map(case, case.label, self.labels.dense, "label")

    def _read_map(self, case: Case, path: Path | None, encoding: Encoding, kind: str) -> np.ndarray:
        if path is None:
            raise DataError(f"case {case.id}: has no {kind} in {kind}s{case.split}.")
        array, geometry = read_map(path)
        expected = read_geometry(case.images[0])
        where = f"{path} (case {case.id})"
        if geometry.size != expected.size:
            raise DataError(
                f"{where}: expected the image's size (z, y, x) {expected.size}, got {geometry.size}; "
                f"draw on {case.images[0].name}."
            )
        differences = geometry.differences(expected, _GRID_TOLERANCE * min(expected.spacing_mm))
        if differences:
            raise DataError(
                f"{where}: expected the grid of {case.images[0].name}, got another {' and '.join(differences)}; "
                "copy the image's header to it if the voxels fit, else resample it to the image's grid."
            )
        indices = encoding.decode(array, where)
        hidden = set(range(len(self.classes))) - set(case.annotated)
        for index in hidden & set(np.unique(indices).tolist()):
            if index == 0:
                indices[indices == 0] = UNLABELLED
                continue
            raise DataError(
                f"{where}: holds class '{self.classes[index]}', which dataset.json does not list under annotated "
                f"for this case; listed: {', '.join(self.classes[i] for i in case.annotated)}."
            )
        return indices

    def case_digest(self, case: Case) -> str:
        """Return a digest of everything that the arrays of a case depend on: file contents and `dataset.json`."""
        return self._digest_of(case, (*case.images, case.scribble, case.label))

    def part_digests(self, case: Case) -> dict[str, str]:
        """Return the same for each array of a case on its own: 'image', 'scribble', 'label', as far as there are any.

        Maps depend on the image too, whose grid they are brought to.
        """
        maps = {"scribble": case.scribble, "label": case.label}
        return {"image": self._digest_of(case, case.images)} | {
            kind: self._digest_of(case, (*case.images, path)) for kind, path in maps.items() if path is not None
        }

    def _digest_of(self, case: Case, sources: Sequence[Path | None]) -> str:
        parts = [self._content_digest, case.id]
        for source in sources:
            files = sorted(p for p in source.rglob("*") if p.is_file()) if source and source.is_dir() else [source]
            parts += [_cached_digest(file) if file else "-" for file in files]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @cached_property
    def _content_digest(self) -> str:
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def digest(self) -> str:
        """Digest of `dataset.json` (not its layout) and of all files of all cases."""
        cases = [f"{split}/{self.case_digest(case)}" for split in SPLITS for case in self._cases[split]]
        return hashlib.sha256("\n".join([self._content_digest, *cases]).encode()).hexdigest()


def _cached_digest(path: Path) -> str:
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _digests:
        _digests[key] = file_digest(path)
    return _digests[key]


def _channels(content: Mapping[str, Any], where: str) -> tuple[str, ...]:
    declared = content.get("channel_names", content.get("modality"))
    if declared is None:
        return ("image",)
    if isinstance(declared, list):
        declared = {str(index): name for index, name in enumerate(declared)}
    expected = [str(index) for index in range(len(declared))] if isinstance(declared, Mapping) else []
    if not expected or sorted(declared, key=str) != sorted(expected):
        raise DataError(f'{where}: expected "channel_names" such as {{"0": "MR"}}, numbered from 0, got {declared!r}.')
    return tuple(str(declared[key]) for key in expected)


def _annotated(declared: Any, classes: tuple[str, ...], where: str) -> dict[str, tuple[int, ...]]:
    if declared is None:
        return {}
    if not isinstance(declared, Mapping) or not all(isinstance(names, list) for names in declared.values()):
        raise DataError(f'{where}: expected "annotated" such as {{"case": ["organ"]}}, got {declared!r}.')
    for case, names in declared.items():
        for name in names:
            if name not in classes:
                raise DataError(f"{where}: annotated: case {case}: " + unknown_name("class", name, classes))
    return {case: tuple(sorted({classes.index(name) for name in names})) for case, names in declared.items()}
