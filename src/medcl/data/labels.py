"""What the integers in scribble and label files mean: file values to class indices and back.

In memory a map holds class indices, 0 for background and 1..C-1 for the structures, and `UNLABELLED` where nobody said
anything. Files use whatever values their `dataset.json` names; nothing beyond the reader knows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medcl.errors import DataError, unknown_name

UNLABELLED = -1
"""Value of *not annotated* in maps in memory. Files use whatever `ignore` their `dataset.json` names; the reader
translates it to this, and nothing beyond the reader knows a file's value."""

BACKGROUND = "background"
IGNORE = "ignore"
_UNKNOWN = -2
_LARGEST_TABLE = 1 << 20


@dataclass(frozen=True)
class Encoding:
    """File values of one kind of map (scribbles or dense labels).

    Attributes:
        classes: Class names by index; index 0 is background.
        values: File value per class index; None where the class has no value in these files.
        ignore: File value that means *not annotated*; None where the files have no such value.
    """

    classes: tuple[str, ...]
    values: tuple[int | None, ...]
    ignore: int | None = None

    def describe(self) -> str:
        """Return 'background = 0, RV = 1, ignore = 4'."""
        pairs = [*zip(self.classes, self.values, strict=True), (IGNORE, self.ignore)]
        return ", ".join(f"{name} = {value}" for name, value in pairs if value is not None)

    def decode(self, array: np.ndarray, where: str) -> np.ndarray:
        """Turn file values into class indices.

        Args:
            array: Integers of any type and shape.
            where: File and case, for the error message.

        Returns:
            int16 of the same shape: class indices, `UNLABELLED` where the file holds `ignore`.

        Raises:
            DataError: Values that the encoding does not name, each with its count; known ones are listed.
        """
        pairs = [(value, index) for index, value in enumerate(self.values) if value is not None]
        if self.ignore is not None:
            pairs.append((self.ignore, UNLABELLED))
        pairs.sort()
        keys = np.array([value for value, _ in pairs], dtype=np.int64)
        codes = np.array([code for _, code in pairs], dtype=np.int16)
        if array.size == 0:
            return np.zeros(array.shape, np.int16)
        low, high = min(int(array.min()), int(keys[0])), max(int(array.max()), int(keys[-1]))
        if high - low < _LARGEST_TABLE:
            table = np.full(high - low + 1, _UNKNOWN, np.int16)
            table[keys - low] = codes
            result: np.ndarray = table[array.astype(np.int64) - low]
        else:
            place = np.searchsorted(keys, array.astype(np.int64)).clip(max=len(keys) - 1)
            result = np.where(keys[place] == array, codes[place], np.int16(_UNKNOWN))
        unknown = result == _UNKNOWN
        if unknown.any():
            found = zip(*np.unique(array[unknown], return_counts=True), strict=True)
            listed = ", ".join(f"{int(value)} ({int(count)} voxels)" for value, count in found)
            raise DataError(
                f"{where}: unknown label value {listed}; known: {self.describe()}. "
                "Correct the file or name the value in dataset.json."
            )
        return result

    def encode(self, indices: np.ndarray) -> np.ndarray:
        """Turn class indices into file values, the inverse of `decode`.

        Args:
            indices: Class indices and `UNLABELLED`, any shape.

        Returns:
            The smallest integer type that holds all values of the encoding, same shape.

        Raises:
            DataError: An index has no value in this encoding.
        """
        table = {index: value for index, value in enumerate(self.values) if value is not None}
        if self.ignore is not None:
            table[UNLABELLED] = self.ignore
        if indices.size:
            low, high = int(indices.min()), int(indices.max())
            inside = range(max(low, UNLABELLED), min(high, len(self.values) - 1) + 1)
            for index in sorted({low, high, *inside} - table.keys()):
                if (indices == index).any():
                    what = IGNORE if index == UNLABELLED else f"class index {index}"
                    raise DataError(f"{what} has no file value; known: {self.describe()}.")
        kind = np.result_type(np.min_scalar_type(0), *map(np.min_scalar_type, table.values()))
        lookup = np.zeros(len(self.values) + 1, kind)  # the last place is that of -1, UNLABELLED
        for index, value in table.items():
            lookup[index] = value
        # One pass: large scans are encoded while people draw.
        return lookup[indices.astype(np.int8) if indices.dtype == bool else indices]


@dataclass(frozen=True)
class LabelTable:
    """Everything that `dataset.json` says about classes.

    Attributes:
        dense: Encoding of dense labels.
        strokes: Encoding of scribbles; the same as `dense` unless `scribble_labels` says otherwise.
        groups: Named unions of class indices.
        groups_given: False where `groups` is the default: one group 'foreground' of all structures if there are two
            or more. True where `dataset.json` has `groups` (even an empty one) or regions.
    """

    dense: Encoding
    strokes: Encoding
    groups: dict[str, tuple[int, ...]]
    groups_given: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index."""
        return self.dense.classes


def parse_labels(content: Mapping[str, Any], where: str) -> LabelTable:
    """Read `labels`, `scribble_labels`, `groups` and `regions_class_order` of a `dataset.json`.

    `labels` maps a name to an integer, or to a list of integers: a region, which becomes a group. A value that only
    occurs in regions becomes a class called 'label_<value>'. Classes are ordered by file value after background.

    Args:
        content: The content of `dataset.json`.
        where: The file, for error messages.

    Raises:
        DataError: `labels` is missing or malformed, or a name or value is unknown or used twice.
    """
    labels = content.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        raise DataError(f'{where}: expected "labels" such as {{"background": 0, "organ": 1}}, got {labels!r}.')
    singles, regions = _split_regions(labels, where)
    ignore = singles.pop(IGNORE, None)
    if BACKGROUND not in singles:
        raise DataError(f'{where}: "labels" must name "background"; named are {", ".join(labels)}.')
    background = singles.pop(BACKGROUND)
    by_value = {value: name for name, value in singles.items()}
    for name, values in regions.items():
        for value in values:
            if value in (background, ignore):
                raise DataError(f"{where}: region '{name}' holds value {value}, which is background or ignore.")
            by_value.setdefault(value, f"label_{value}")
    order = sorted(by_value)
    if not order:
        raise DataError(f'{where}: "labels" names no structure besides background; name at least one.')
    classes = (BACKGROUND, *(by_value[value] for value in order))
    if len(set(classes)) < len(classes):
        raise DataError(f"{where}: a class is called 'label_<value>' like an unnamed value of a region; rename it.")
    dense = Encoding(classes, (background, *order), ignore)
    _check_region_order(content.get("regions_class_order"), dense, where)
    groups, given = _groups(content, dense, regions, where)
    return LabelTable(dense, _strokes(content.get("scribble_labels"), dense, where), groups, given)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62


def _canonical(name: str) -> str:
    return name.lower() if name.lower() in (BACKGROUND, IGNORE) else name


def _split_regions(labels: Mapping[str, Any], where: str) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Part names of single values from regions; a list of one value counts as a class unless the value has a name."""
    if all(str(key).lstrip("-").isdigit() and isinstance(value, str) for key, value in labels.items()):
        raise DataError(
            f'{where}: "labels" maps values to names (nnU-Net v1); turn it round: {{"background": 0, "organ": 1}}.'
        )
    singles: dict[str, int] = {}
    regions: dict[str, tuple[int, ...]] = {}
    for name, value in labels.items():
        if not str(name).strip():
            raise DataError(f'{where}: "labels" holds an empty class name.')
        if _integer(value):
            if value in singles.values():
                other = next(known for known, known_value in singles.items() if known_value == value)
                raise DataError(f"{where}: '{name}' and '{other}' are both value {value}; each needs its own.")
            singles[_canonical(name)] = value
        elif isinstance(value, Sequence) and not isinstance(value, str) and value and all(map(_integer, value)):
            regions[_canonical(name)] = tuple(dict.fromkeys(value))
        else:
            raise DataError(f"{where}: label '{name}': expected an integer or a list of integers, got {value!r}.")
    for name in [name for name, values in regions.items() if len(values) == 1 and values[0] not in singles.values()]:
        singles[name] = regions.pop(name)[0]
    for name in (BACKGROUND, IGNORE):
        if name in regions:
            raise DataError(f"{where}: '{name}' must be one value, got {list(regions[name])}.")
    return singles, regions


def _check_region_order(order: Any, dense: Encoding, where: str) -> None:
    """`regions_class_order` is nnU-Net's rule for writing regions; medcl predicts classes, so it is only checked."""
    if order is None:
        return
    unknown = [value for value in order if value not in dense.values] if isinstance(order, list) else [order]
    if unknown:
        raise DataError(f"{where}: regions_class_order holds unknown value {unknown}; known: {dense.describe()}.")


def _groups(
    content: Mapping[str, Any], dense: Encoding, regions: dict[str, tuple[int, ...]], where: str
) -> tuple[dict[str, tuple[int, ...]], bool]:
    declared = content.get("groups")
    if declared is not None and not isinstance(declared, Mapping):
        raise DataError(f'{where}: expected "groups" such as {{"heart": ["RV", "LV"]}}, got {declared!r}.')
    groups: dict[str, tuple[int, ...]] = {}
    for name, members in [*regions.items(), *(declared or {}).items()]:
        if name in dense.classes or name in groups:
            raise DataError(f"{where}: group '{name}' has the name of a class or of another group; rename it.")
        if not isinstance(members, Sequence) or isinstance(members, str) or not members:
            raise DataError(f"{where}: group '{name}': expected a list of classes, got {members!r}.")
        groups[name] = tuple(sorted({_member(member, name, dense, where) for member in members}))
    if groups or declared is not None:
        return groups, True
    structures = tuple(range(1, len(dense.classes)))
    return ({"foreground": structures} if len(structures) > 1 and "foreground" not in dense.classes else {}), False


def _member(member: Any, group: str, dense: Encoding, where: str) -> int:
    known: Sequence[Any] = dense.values if _integer(member) else dense.classes
    if member not in known:
        raise DataError(f"{where}: group '{group}': " + unknown_name("class", member, dense.describe().split(", ")))
    index = known.index(member)
    if index == 0:
        raise DataError(f"{where}: group '{group}' holds the background; groups are unions of structures.")
    return index


def _strokes(declared: Any, dense: Encoding, where: str) -> Encoding:
    """Encoding of scribbles. A class that `scribble_labels` leaves out is never drawn."""
    if declared is None:
        return dense
    if not isinstance(declared, Mapping) or not all(map(_integer, declared.values())):
        raise DataError(f'{where}: expected "scribble_labels" of name -> integer, got {declared!r}.')
    table = {_canonical(name): value for name, value in declared.items()}
    for name in table:
        if name not in (*dense.classes, IGNORE):
            raise DataError(f"{where}: scribble_labels: " + unknown_name("class", name, (*dense.classes, IGNORE)))
    if IGNORE not in table:
        raise DataError(f'{where}: "scribble_labels" must name "ignore", the value where nothing was drawn.')
    if len(set(table.values())) < len(table):
        raise DataError(f"{where}: scribble_labels gives one value to two names: {dict(declared)}.")
    return Encoding(dense.classes, tuple(table.get(name) for name in dense.classes), table[IGNORE])
