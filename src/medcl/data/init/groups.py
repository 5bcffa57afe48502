"""Proposals of which files are images, scribbles and labels, from their names alone. The user decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medcl.data.layout import Split, split_ending

_ROLES = {
    "scribbles": {"scribble", "scribbles", "scrib", "stroke", "strokes", "weak"},
    "labels": {"label", "labels", "lbl", "mask", "masks", "seg", "segs", "segmentation", "segmentations", "gt", "dense",
               "groundtruth", "annotation", "annotations", "annot", "manual"},
    "images": {"image", "images", "img", "imgs", "raw", "scan", "scans", "data", "ct", "mr", "mri",
               "volume", "volumes"},
}  # fmt: skip
_SPLITS: dict[Split, set[str]] = {
    "Val": {"val", "valid", "validation"},
    "Ts": {"test", "testing", "ts"},
    "Tr": {"train", "training", "tr"},
}
_SEPARATOR = re.compile(r"[_\-\s.]+")
_CHANNEL = re.compile(r"(.+)(_\d{4})", re.DOTALL)


@dataclass(frozen=True)
class FileGroup:
    """Files with one way of naming.

    Attributes:
        pattern: The way of naming, as `Pattern` takes it.
        files: Relative paths.
        role: images, scribbles or labels, where the names say so; otherwise None.
        split: Tr, Val or Ts; Tr unless a folder's name says otherwise.
        reason: Why this role is proposed.
    """

    pattern: str
    files: tuple[str, ...]
    role: str | None
    split: Split
    reason: str


def find_groups(files: Sequence[str]) -> list[FileGroup]:
    """Group relative paths by their way of naming, largest group first, and propose what each is."""
    patterns: dict[str, list[str]] = {}
    for path in files:
        patterns.setdefault(_generalise(path), []).append(path)
    patterns = _part_channels(patterns)
    groups = []
    for pattern, members in sorted(patterns.items(), key=lambda item: (-len(item[1]), item[0])):
        role, word = _role(pattern)
        reason = f"the name holds '{word}'" if role else ""
        groups.append(FileGroup(pattern, tuple(members), role, _split(pattern), reason))
    return _what_is_left(groups)


def propose_sources(groups: Sequence[FileGroup]) -> dict[str, tuple[str, ...]]:
    """Return dataset folder name -> patterns for the groups whose names are clear.

    Several patterns for the images of one split are taken as channels, in the order of their names; two ways of
    naming for one kind of map leave a choice, and nothing is proposed for it.
    """
    found: dict[str, list[str]] = {}
    for group in groups:
        if group.role is not None:
            found.setdefault(f"{group.role}{group.split}", []).append(group.pattern)
    return {
        key: tuple(sorted(patterns))
        for key, patterns in found.items()
        if key.startswith("images") or len(patterns) == 1
    }


def _words(text: str) -> list[str]:
    return [word for word in _SEPARATOR.split(text.lower()) if word]


def _word_role(word: str) -> str | None:
    return next((role for role, words in _ROLES.items() if word in words), None)


def _generalise(path: str) -> str:
    """Replace what names the case in a path by `{case}`."""
    parent, _, name = path.rpartition("/")
    stem = split_ending(name)[0]
    above, _, last = parent.rpartition("/")
    prefix = f"{parent}/" if parent else ""
    words = _words(stem)
    if parent and words and all(_word_role(word) for word in words) and not _word_role(last.lower()):
        return f"{above}/{{case}}/{stem}".lstrip("/")
    if last and stem.startswith(last) and len(stem) > len(last) and _SEPARATOR.match(stem[len(last)]):
        return f"{above}/{{case}}/{{case}}{stem[len(last) :]}".lstrip("/")
    if len(words) > 1 and _word_role(words[-1]):
        tail = re.search(rf"[_\-\s.]+{re.escape(words[-1])}$", stem, re.IGNORECASE)
        if tail:
            return f"{prefix}{{case}}{tail[0]}"
    if len(words) > 1 and _word_role(words[0]):
        head = re.match(rf"{re.escape(words[0])}[_\-\s.]+", stem, re.IGNORECASE)
        if head:
            return f"{prefix}{head[0]}{{case}}"
    return f"{prefix}{{case}}"


def _part_channels(patterns: dict[str, list[str]]) -> dict[str, list[str]]:
    """Split 'images/{case}' by channel suffix where a map is called like an image without its suffix."""
    stems = {path: split_ending(path.rpartition("/")[2])[0] for members in patterns.values() for path in members}
    names = set(stems.values())
    result: dict[str, list[str]] = {}
    for pattern, members in patterns.items():
        for path in members:
            found = _CHANNEL.fullmatch(stems[path]) if pattern.endswith("{case}") else None
            suffix = found[2] if found and found[1] in names else ""
            result.setdefault(pattern + suffix, []).append(path)
    return result


def _role(pattern: str) -> tuple[str | None, str]:
    """Return the role that the fixed words of a pattern name, the file's own words first, and the word."""
    for part in reversed(pattern.split("/")):
        for word in reversed(_words(part.replace("{case}", "_"))):
            role = _word_role(re.sub(r"(tr|val|ts)$", "", word)) or _word_role(word)
            if role:
                return role, word
    return None, ""


def _split(pattern: str) -> Split:
    words = {word for part in pattern.split("/")[:-1] for word in _words(part)}
    return next((split for split, names in _SPLITS.items() if words & names), "Tr")


def _what_is_left(groups: list[FileGroup]) -> list[FileGroup]:
    """Propose as images what no word names, where a split has maps and no images."""
    result = []
    for group in groups:
        same = [other.role for other in groups if other.split == group.split]
        only = group.role is None and same.count(None) == 1
        if only and "images" not in same and set(same) & {"scribbles", "labels"}:
            reason = "no word in the name, and the other files are maps"
            group = FileGroup(group.pattern, group.files, "images", group.split, reason)
        result.append(group)
    return result


def in_layout(folder: Path) -> bool:
    """Return whether a folder has the dataset layout already (imagesTr)."""
    return (folder / "imagesTr").is_dir()
