"""Prepared arrays that lie in a cache folder already, found by what they were made from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medcl.errors import DataError
from medcl.files import TEMPORARY_PREFIX, read_json


@dataclass(frozen=True)
class Found:
    """An array of another store.

    Attributes:
        path: The file.
        bytes: Its full length.
        grid: The grid of its case, as JSON.
    """

    path: Path
    bytes: int
    grid: str


class Known:
    """The arrays of all stores of a folder.

    Args:
        folder: Cache folder; every store in it has a `store.json`.
        counts: What arrays depend on beside their files, as text.
    """

    def __init__(self, folder: Path, counts: str) -> None:
        self.folder, self.counts = folder, counts

    def key(self, digest: str) -> str:
        """Return the name of an array from the digest of the files that it was made from."""
        return hashlib.sha256(f"{self.counts}\n{digest}".encode()).hexdigest()

    def find(self, key: str) -> Found | None:
        """Return the array of that name, if it lies there in full length."""
        found = self._arrays.get(key)
        with contextlib.suppress(OSError):
            if found is not None and found.path.stat().st_size == found.bytes:
                return found
        return None

    @cached_property
    def _arrays(self) -> dict[str, Found]:
        return dict(self._read())

    def _read(self) -> Iterator[tuple[str, Found]]:
        for file in sorted(self.folder.glob("*/store.json")):
            if file.parent.name.startswith(TEMPORARY_PREFIX):
                continue
            # A store that cannot be read, or of another layout, has nothing to give.
            with contextlib.suppress(DataError, OSError, KeyError, TypeError, AttributeError):
                content: dict[str, Any] = read_json(file)
                for entry in content["cases"].values():
                    grid = json.dumps(entry["grid"])
                    for array in entry["arrays"].values():
                        if "key" in array:
                            yield array["key"], Found(file.parent / array["file"], array["bytes"], grid)


def link(source: Path, target: Path) -> bool:
    """Give a file a second name, or copy it where the disk has no links; return whether it is there now."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:  # its store was removed meanwhile
        return False
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError:
            target.unlink(missing_ok=True)
            return False
    return True
