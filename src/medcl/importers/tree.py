"""The files of a download, found by their official names however many folders they were unpacked into."""

from __future__ import annotations

import os
import re
from pathlib import Path

from medcl.errors import DataError

_RUBBISH = ("__MACOSX",)


class Tree:
    """All files below a folder, listed once; hidden files and what archives of other systems leave are left out.

    Args:
        root: The folder that the user names: the data set's own or any above it.

    Raises:
        DataError: No folder, a file (an archive must be unpacked first), or nothing in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if root.is_file():
            raise DataError(f"{root}: expected the folder of the unpacked download, got a file; unpack it first.")
        if not root.is_dir():
            raise DataError(f"{root}: expected the folder of the unpacked download, found nothing; check the path.")
        found: list[str] = []
        for top, folders, names in os.walk(root, followlinks=True):
            folders[:] = sorted(name for name in folders if name[0] != "." and name not in _RUBBISH)
            below = Path(top).relative_to(root)
            found += [(below / name).as_posix() for name in sorted(names) if name[0] != "."]
        if not found:
            raise DataError(f"{root}: expected the folder of the unpacked download, but it holds no files.")
        self.files = tuple(found)

    def match(self, pattern: str) -> list[tuple[re.Match[str], Path]]:
        """Find files by the end of their path.

        Args:
            pattern: Regular expression for the last parts of a path, '/' between folders.

        Returns:
            Match and path of every file, sorted by path.
        """
        known = re.compile(rf"(?:.*/)?{pattern}", re.DOTALL)
        matches = ((known.fullmatch(name), self.root / name) for name in self.files)
        return [(match, path) for match, path in matches if match]

    def named(self, pattern: str, errors: list[str]) -> dict[str, Path]:
        """Find files by the end of their path, one per name.

        Args:
            pattern: As for `match`; its group 'id' is the name.
            errors: Gets a sentence for every name that two files have.

        Returns:
            Name -> path, sorted by name.
        """
        found: dict[str, Path] = {}
        for match, path in self.match(pattern):
            name = match["id"]
            if name in found:
                errors.append(f"{found[name]} and {path} have the same name; keep one of them below the folder given.")
            else:
                found[name] = path
        return dict(sorted(found.items()))
