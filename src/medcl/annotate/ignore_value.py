"""Giving a `dataset.json` the value for *not annotated* that stroke files need."""

from __future__ import annotations

from pathlib import Path

from medcl.data.labels import IGNORE, parse_labels
from medcl.files import read_json, write_json


def name_ignore(folder: Path) -> str:
    """Add `ignore` to the labels of a `dataset.json` that names none: the value after the largest one in use.

    No file holds this value, else it could not have been read before: what the files mean stays as it is.

    Args:
        folder: Dataset folder.

    Returns:
        A sentence that tells the user; empty when `ignore` was there.

    Raises:
        DataError: The file cannot be read or written.
    """
    path = folder / "dataset.json"
    content = read_json(path)
    table = parse_labels(content, str(path))
    if table.strokes.ignore is not None:
        return ""
    used = [value for value in (*table.dense.values, *table.strokes.values) if value is not None]
    value = max(used) + 1
    content["labels"] = {**content["labels"], IGNORE: value}
    parse_labels(content, str(path))  # nothing is written that could not be read
    write_json(path, content)
    return (
        f"dataset.json got the label 'ignore' with the value {value}: stroke files hold it where nothing is drawn. "
        "All else in the file is as it was."
    )
