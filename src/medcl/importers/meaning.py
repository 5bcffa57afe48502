"""From the values of a source's maps to class indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medcl.data.labels import BACKGROUND, IGNORE, UNLABELLED
from medcl.errors import DataError

_UNKNOWN = -2
_LARGEST_TABLE = 1 << 20


@dataclass(frozen=True)
class Meaning:
    """What the values of one kind of map mean; several values may mean one class.

    Attributes:
        names: Value -> 'background', 'ignore' or the name of a class.
        indices: Value -> class index, or UNLABELLED.
    """

    names: Mapping[int, str]
    indices: Mapping[int, int]

    @classmethod
    def of(cls, names: Mapping[int, str], classes: Sequence[str]) -> Meaning:
        """Look the names up among the structures, whose indices start at 1."""
        index = {BACKGROUND: 0, IGNORE: UNLABELLED, **{name: number for number, name in enumerate(classes, 1)}}
        return cls(names, {value: index[name] for value, name in names.items()})

    def describe(self) -> str:
        """Return '0 background, 200 Myo', ranges of values as '55-70 liver'."""
        runs: list[tuple[int, int, str]] = []
        for value, name in sorted(self.names.items()):
            if runs and runs[-1][2] == name and runs[-1][1] == value - 1:
                runs[-1] = (runs[-1][0], value, name)
            else:
                runs.append((value, value, name))
        return ", ".join(f"{low if low == high else f'{low}-{high}'} {name}" for low, high, name in runs)

    def translate(self, array: np.ndarray, path: Path) -> np.ndarray:
        """Turn values into class indices.

        Args:
            array: Integers of any shape.
            path: The file, for the error.

        Returns:
            int16 of the same shape: class indices, UNLABELLED where the source says that nobody looked.

        Raises:
            DataError: Values that the data set does not have, each with its count.
        """
        keys = np.array(sorted(self.indices), np.int64)
        codes = np.array([self.indices[int(key)] for key in keys], np.int16)
        wide = array.astype(np.int64)
        low, high = min(int(wide.min(initial=0)), int(keys[0])), max(int(wide.max(initial=0)), int(keys[-1]))
        if high - low < _LARGEST_TABLE:
            table = np.full(high - low + 1, _UNKNOWN, np.int16)
            table[keys - low] = codes
            result: np.ndarray = table[wide - low]
        else:
            place = np.searchsorted(keys, wide).clip(max=len(keys) - 1)
            result = np.where(keys[place] == wide, codes[place], np.int16(_UNKNOWN))
        if (result == _UNKNOWN).any():
            values, counts = np.unique(wide[result == _UNKNOWN], return_counts=True)
            found = ", ".join(
                f"{value} ({count} voxels)" for value, count in list(zip(values, counts, strict=True))[:8]
            )
            more = f" and {len(values) - 8} more" if len(values) > 8 else ""
            raise DataError(
                f"{path}: expected the values {self.describe()}, got {found}{more}; is it a file of this data set?"
            )
        return result
