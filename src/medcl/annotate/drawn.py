"""What strokes leave on a scan, kept from call to call: only what came since is put on the map."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from medcl.annotate.runs import left_by, paint, replay, unpack
from medcl.annotate.state.tables import StrokeRow
from medcl.data.labels import UNLABELLED

MOST_BYTES = 512 << 20
"""Memory for maps; the newest one is kept however large it is."""

_FEW_VOXELS = 1 << 20

_KEPT_VOXELS = 1 << 16
"""Most drawn voxels of a case that are kept as a list, so that one more stroke need not go through all others."""


class DrawnMaps:
    """The newest known map of each case, in the view grid. Safe to use from several threads."""

    def __init__(self) -> None:
        self._maps: OrderedDict[str, tuple[int, np.ndarray]] = OrderedDict()
        self._counts: dict[str, tuple[int, dict[int, int]]] = {}
        self._slices: dict[tuple[str, int], tuple[int, dict[int, frozenset[int]]]] = {}
        self._lists: dict[str, tuple[int, tuple[np.ndarray, np.ndarray]]] = {}
        self._lock = threading.Lock()

    def at(self, session: Session, case_id: str, version: int, voxels: int) -> np.ndarray:
        """Return the map of a case.

        Args:
            session: Sees the case at `version`.
            case_id: The case.
            version: Its version.
            voxels: Of its view grid.

        Returns:
            int16 (voxels,): class indices and `UNLABELLED`; read only.

        Raises:
            IndexError: A stroke leaves the grid.
        """
        with self._lock:
            known, flat = self._maps.get(case_id, (-1, None))
        if flat is not None and flat.size == voxels and known == version:
            return flat
        if flat is not None and flat.size == voxels and _only_new_strokes(session, case_id, known, version):
            flat = flat.copy()
            for runs, value in _pieces(session, case_id, known):
                paint(flat, runs, value)
        else:
            flat = replay(voxels, _pieces(session, case_id, 0))
        flat.flags.writeable = False
        self._keep(case_id, version, flat)
        return flat

    def counts(self, session: Session, case_id: str, version: int, voxels: int) -> dict[int, int]:
        """Return class index -> stroked voxels; see `at`. No map is made unless strokes cover much of the scan."""
        with self._lock:
            known, counts = self._counts.get(case_id, (-1, {}))
        if known == version:
            return counts
        _, classes = self._left(session, case_id, version, voxels)
        counts = {index: int(n) for index, n in enumerate(np.bincount(classes)) if n}
        with self._lock:
            self._counts[case_id] = (version, counts)
        return counts

    def slices(
        self, session: Session, case_id: str, version: int, size: tuple[int, int, int], axis: int
    ) -> dict[int, frozenset[int]]:
        """Return slice along an axis (i, j, k) of the view grid -> classes that strokes leave in it; see `counts`."""
        with self._lock:
            known, slices = self._slices.get((case_id, axis), (-1, {}))
        if known == version:
            return slices
        voxels, classes = self._left(session, case_id, version, math.prod(size))
        numbers = voxels // math.prod(size[:axis]) % size[axis]
        found: dict[int, set[int]] = {}
        width = int(classes.max(initial=0)) + 1
        for both in np.flatnonzero(np.bincount(numbers * width + classes)).tolist():
            found.setdefault(both // width, set()).add(both % width)
        slices = {index: frozenset(those) for index, those in found.items()}
        with self._lock:
            self._slices[(case_id, axis)] = (version, slices)
        return slices

    def _left(self, session: Session, case_id: str, version: int, voxels: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the voxels that are drawn and their classes; read only."""
        with self._lock:
            known, left = self._lists.get(case_id, (-1, None))
        if left is not None and known == version:
            return left
        if left is not None and _only_new_strokes(session, case_id, known, version):
            left = left_by(_pieces(session, case_id, known), left)
        else:
            left = self._all_left(session, case_id, version, voxels)
        with self._lock:
            if len(left[0]) <= _KEPT_VOXELS:
                self._lists[case_id] = (version, left)
            else:
                self._lists.pop(case_id, None)
        return left

    def _all_left(self, session: Session, case_id: str, version: int, voxels: int) -> tuple[np.ndarray, np.ndarray]:
        pieces = _pieces(session, case_id, 0)
        if sum(int(runs[:, 1].sum()) for runs, _ in pieces) <= max(voxels // 8, _FEW_VOXELS):
            return left_by(pieces)
        flat = self.at(session, case_id, version, voxels)
        drawn = np.flatnonzero(flat != UNLABELLED)
        return drawn, flat[drawn]

    def _keep(self, case_id: str, version: int, flat: np.ndarray) -> None:
        with self._lock:
            if self._maps.get(case_id, (-1, None))[0] > version:
                return
            self._maps[case_id] = (version, flat)
            self._maps.move_to_end(case_id)
            while len(self._maps) > 1 and sum(map_.nbytes for _, map_ in self._maps.values()) > MOST_BYTES:
                self._maps.popitem(last=False)


def _only_new_strokes(session: Session, case_id: str, known: int, version: int) -> bool:
    """Whether every version since the known one is a stroke that stands: nothing was undone, redone or imported."""
    if version < known:
        return False
    since = select(func.count()).where(
        StrokeRow.case == case_id, StrokeRow.version > known, StrokeRow.undone.is_(False), StrokeRow.tool != "import"
    )
    return session.scalar(since) == version - known


def _pieces(session: Session, case_id: str, after: int) -> list[tuple[np.ndarray, int | None]]:
    rows = session.execute(
        select(StrokeRow.runs, StrokeRow.tool, StrokeRow.value)
        .where(StrokeRow.case == case_id, StrokeRow.undone.is_(False), StrokeRow.version > after)
        .order_by(StrokeRow.version)
    )
    return [(unpack(runs, 3 if tool == "import" else 2), value) for runs, tool, value in rows]
