"""Where images, scribbles and labels lie in a folder that somebody else laid out: patterns with a place for the case.

'images/{case}.png' and 'masks/{case}_mask.png' belong together where `{case}` is the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from medcl.data.io import IMAGE_ENDINGS
from medcl.data.layout import DICOM_ENDINGS, split_ending
from medcl.errors import DataError

_TOKEN = re.compile(r"\{(\w+)\}|(\*\*/)|(\*)")


class Pattern:
    """A relative path with placeholders.

    `{name}` stands for a part of one folder or file name; the same name twice must be the same text. The case id is
    the text of all placeholders, joined by '_'. `*` stands for anything in one name, `**/` for any folders. A pattern
    without image ending (or with '.*') takes any, and folders of DICOM; the path of a folder means all images in it.

    Args:
        text: The pattern.
        folder: The folder it is relative to.

    Raises:
        DataError: It has no placeholder.
    """

    def __init__(self, text: str, folder: Path) -> None:
        clean = text.strip().removeprefix("./").removesuffix(".*").rstrip("/")
        if not _TOKEN.search(clean) and (folder / clean).is_dir():
            clean = "{case}" if clean in ("", ".") else f"{clean}/{{case}}"
        self.text = clean
        self._any_ending = split_ending(clean.rpartition("/")[2])[1] == ""
        self._names: list[str] = []
        expression, last, self.literals = "", 0, 0
        for token in _TOKEN.finditer(clean):
            literal = clean[last : token.start()]
            expression += re.escape(literal) + self._part(token)
            self.literals += len(literal)
            last = token.end()
        self.literals += len(clean) - last
        self._expression = re.compile(expression + re.escape(clean[last:]), re.DOTALL)
        if not self._names:
            raise DataError(
                f"pattern '{text}': expected a folder, or a place for the case such as images/{{case}}.png."
            )

    def _part(self, token: re.Match[str]) -> str:
        name = token[1]
        if name is None:
            return "(?:[^/]+/)*" if token[2] else "[^/]*"
        if name in self._names:
            return f"(?P=p_{name})"
        self._names.append(name)
        return f"(?P<p_{name}>[^/]+)"

    def case(self, path: str) -> str | None:
        """Return the case id of a relative path ('/' as separator), or None where it does not match."""
        found = self._expression.fullmatch(split_ending(path)[0] if self._any_ending else path)
        return "_".join(found[f"p_{name}"] for name in self._names) if found else None


def list_sources(folder: Path) -> list[str]:
    """List all image files and DICOM folders below a folder as sorted relative paths; hidden ones are left out."""
    found: list[str] = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in names if not name.startswith("."))
        here = Path(base)
        if here != folder and names and _is_dicom_folder(here, names):
            found.append(here.relative_to(folder).as_posix())
            continue
        known = (*IMAGE_ENDINGS, *DICOM_ENDINGS)
        found += [(here / name).relative_to(folder).as_posix() for name in names if split_ending(name)[1] in known]
    return sorted(found)


def _is_dicom_folder(folder: Path, names: Sequence[str]) -> bool:
    if any(split_ending(name)[1] in IMAGE_ENDINGS for name in names):
        return False
    if any(name.lower().endswith((".dcm", ".ima")) for name in names):
        return True
    with (folder / names[0]).open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def assign(
    files: Sequence[str], wanted: Mapping[str, Sequence[str]], folder: Path
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Give each file to the pattern that fits it most closely.

    Args:
        files: Relative paths.
        wanted: Dataset folder name ('imagesTr', 'scribblesTr', ...) -> patterns; several for images mean channels.
        folder: The folder that paths and patterns are relative to.

    Returns:
        Dataset folder name -> case id -> files, one per pattern. A file that fits several patterns belongs to the one
        with the most fixed characters: 'p1_scribble.png' fits '{case}_scribble' before '{case}'.

    Raises:
        DataError: A pattern matches nothing, two files are the same case, a channel or an image is missing.
    """
    patterns = [
        (key, index, Pattern(text, folder)) for key, texts in wanted.items() for index, text in enumerate(texts)
    ]
    found: dict[str, dict[str, dict[int, str]]] = {key: {} for key in wanted}
    used: set[tuple[str, int]] = set()
    for path in files:
        fits = [(p.literals, key, index, p) for key, index, p in patterns if p.case(path) is not None]
        if not fits:
            continue
        best = max(literals for literals, *_ in fits)
        closest = [fit for fit in fits if fit[0] == best]
        if len(closest) > 1:
            both = " and ".join(f"{key} ('{p.text}')" for _, key, _, p in closest)
            raise DataError(f"{folder / path}: fits {both} equally well; make one pattern more exact.")
        _, key, index, pattern = closest[0]
        case = str(pattern.case(path))
        other = found[key].setdefault(case, {}).setdefault(index, path)
        if other != path:
            raise DataError(
                f"{key}: {other} and {path} are both case '{case}'; make the pattern '{pattern.text}' exact."
            )
        used.add((key, index))
    for key, index, pattern in patterns:
        if (key, index) not in used:
            raise DataError(f"{folder}: no image file fits the pattern '{pattern.text}' for {key}; check its spelling.")
    result = {}
    for key, cases in found.items():
        for case, channels in cases.items():
            lacking = [text for index, text in enumerate(wanted[key]) if index not in channels]
            if lacking:
                raise DataError(
                    f"{key}: case '{case}' has no file for {', '.join(lacking)}; add it or remove the case."
                )
        result[key] = {case: tuple(channels[i] for i in sorted(channels)) for case, channels in sorted(cases.items())}
    _check_pairs(result)
    return result


def _check_pairs(found: Mapping[str, Mapping[str, tuple[str, ...]]]) -> None:
    for key, cases in found.items():
        kind = "scribbles" if key.startswith("scribbles") else "labels" if key.startswith("labels") else ""
        if not kind:
            continue
        split = key.removeprefix(kind)
        alone = [case for case in cases if case not in found.get(f"images{split}", {})]
        if alone:
            shown = ", ".join(alone[:5]) + (f" and {len(alone) - 5} more" if len(alone) > 5 else "")
            raise DataError(
                f"{key}: no image for case {shown}; the part of the name that {{case}} stands for must be equal "
                f"(images: {', '.join(list(found.get(f'images{split}', {}))[:3]) or 'none'})."
            )
