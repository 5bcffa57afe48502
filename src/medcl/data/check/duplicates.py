"""Find the same content under two names."""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np

from medcl.data.check.findings import Finding, shorten


def fingerprint(array: np.ndarray) -> str:
    """Return a digest of values and shape, whatever the number type or the file format they came in."""
    values = np.ascontiguousarray(array, dtype=np.float64 if array.dtype.itemsize > 4 else np.float32)
    digest = hashlib.blake2b(str(array.shape).encode(), digest_size=16)
    digest.update(values.data)
    return digest.hexdigest()


class Duplicates:
    """Collects digests and names what occurs twice."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)

    def add(self, kind: str, digest: str, split: str, case: str, file: str) -> None:
        """Remember a content.

        Args:
            kind: `image`, `scribble` or `label`.
            digest: Digest of the content.
            split: Tr, Val or Ts.
            case: Case id.
            file: File name relative to the data set folder.
        """
        self._seen[kind, digest].append((split, case, file))

    def findings(self) -> list[Finding]:
        """Return `duplicate-image`, `duplicate-scribble` and `duplicate-label`.

        The same image in two parts (training and validation, say) is an error: scores would be too good. So is the
        same scribble on two images: at least one of them is wrong. Otherwise a warning.
        """
        images = {entry[:2]: digest for (kind, digest), seen in self._seen.items() if kind == "image" for entry in seen}
        found = []
        for (kind, _), seen in self._seen.items():
            places = {entry[:2] for entry in seen}
            if len(places) < 2:
                continue
            cases = list(dict.fromkeys(case for _, case, _ in seen))
            if kind != "image" and len({images.get(place, place) for place in places}) == 1:
                continue  # a duplicate image carries its maps along; it is reported as an image
            leak = kind == "image" and len({split for split, _, _ in seen}) > 1
            files = [file for _, _, file in seen]
            severity = "error" if leak or kind == "scribble" else "warning"
            if kind == "image":
                message = f"{len(places)} cases hold the same image: {shorten(files, 3)}"
                todo = "Keep one of them" + ("; scores on images that were trained on are too good" if leak else "")
            else:
                folder = files[0].rpartition("/")[0]
                message = f"one {kind} ({folder}) lies on {len(places)} different images: {shorten(cases, 3)}"
                todo = "Find out to which image it belongs, and take the others out"
            found.append(
                Finding(
                    "error" if severity == "error" else "warning",
                    f"duplicate-{kind}",
                    cases[0],
                    files[0],
                    message,
                    todo,
                    {"cases": cases, "files": files},
                )
            )
        return found
