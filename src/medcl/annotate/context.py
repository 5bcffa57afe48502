"""What every handler and the worker stand on: folder, database, data set, and the strokes of a case."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote
from uuid import UUID

import numpy as np
from fastapi import Depends, Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from medcl.annotate.drawn import DrawnMaps
from medcl.annotate.problems import Refused
from medcl.annotate.state.database import Database
from medcl.annotate.state.tables import CaseRow, EventRow, now
from medcl.data.dataset import Dataset
from medcl.data.io import read_geometry
from medcl.data.layout import SPLITS, Case
from medcl.data.view import View
from medcl.errors import DataError
from medcl.files import read_json, write_json

if TYPE_CHECKING:
    from medcl.annotate.schemas import Project

STATE_FOLDER = ".medcl"
"""Hidden folder of the data set folder that holds everything of the annotation server."""

_MOST_NAMES = 40


class Context:
    """One data set folder and what is known about it. Safe to use from several threads.

    Args:
        folder: Dataset folder. While it has no `dataset.json`, only `folder`, `home` and `needs_setup` can be used.
        database: Address of the database; None: SQLite in the state folder.
        home: The folder that the user named; what lies in it may be read. Default: `folder`.
        links: Further folders that links in the data set may lead into.
        scribbles: Which annotator's folder of scribbles, where there are several.

    Attributes:
        folder: Dataset folder.
        state: Folder `.medcl` inside it: `annotate.db`, `cache/`, `runs/`, `predictions/`.
        author: Name that strokes are kept under when the caller names none.
        notices: What the user should know, in sentences.
        setting_up: Held while somebody names the classes of a new data set.
        waiting: Set while strokes may wait to be written.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        database: str | None = None,
        home: str | Path | None = None,
        links: Iterable[str | Path] = (),
        scribbles: str | None = None,
        author: str = "",
    ) -> None:
        self.folder = Path(folder).resolve()
        self.home = Path(home).resolve() if home is not None else self.folder
        self.author = author
        self.notices: list[str] = []
        self.waiting = threading.Event()
        self._roots = (self.home, self.folder, *(Path(link).resolve() for link in links))
        self._database_url = database
        self._scribbles = scribbles
        self._database: Database | None = None
        self._dataset: tuple[tuple[object, ...], dict[Path, object], Dataset] | None = None
        self._views: dict[tuple[str, int, int], View] = {}
        self._maps = DrawnMaps()
        self._classes_seen: tuple[object, list[str]] | None = None
        self._lock = threading.RLock()
        self.setting_up = threading.Lock()

    def recipe(self) -> dict[str, Any]:
        """Return what `Context(**recipe)` in another process needs to open the same; it may hold a password."""
        return {
            "folder": str(self.folder),
            "database": self._database_url,
            "home": str(self.home),
            "links": [str(link) for link in self._roots[2:]],
            "scribbles": self._scribbles,
            "author": self.author,
        }

    @property
    def state(self) -> Path:
        """Folder of everything that is not the data set's; made when asked for."""
        path = self.folder / STATE_FOLDER
        if path.is_symlink() or (path / "cache").is_symlink():
            raise DataError(f"{path}: expected a folder, got a link; remove it.")
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{path}: the folder cannot be made ({error.strerror}); strokes and models need a place there."
            ) from None
        return path

    @property
    def needs_setup(self) -> bool:
        """Whether somebody has to say first what the classes are."""
        return not (self.folder / "dataset.json").is_file()

    @property
    def database(self) -> Database:
        """The database, migrated to this version.

        Raises:
            Refused: The folder is not set up.
            DataError: The database cannot be opened, or a newer medcl made it.
        """
        with self._lock:
            if self._database is None:
                self._refuse_without_setup()
                from medcl.annotate.state.migrate import claim, migrate

                url = self._database_url or f"sqlite:///{self.state / 'annotate.db'}"
                database = Database(url)
                migrate(database)
                claim(database, self.state / "id")
                self._database = database
            return self._database

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    # --- data set ---

    def dataset(self) -> Dataset:
        """Return the data set, opened anew when `dataset.json` or the names of files have changed.

        Raises:
            Refused: The folder is not set up.
            DataError: The folder is not usable, or a link leads out of it.
        """
        with self._lock:
            self._refuse_without_setup()
            stamp = self._stamp()
            known = self._dataset
            if known is None or known[0] != stamp or any(status_of(path) != then for path, then in known[1].items()):
                dataset = Dataset.open(self.folder, scribbles=self._scribbles)
                folders: dict[Path, object] = {}
                for split in SPLITS:
                    for case in dataset.cases(split):
                        for path in (*case.images, case.scribble, case.label):
                            if path is not None:
                                self.inside(path)
                                folders |= self._series(path)
                known = self._dataset = (stamp, folders, dataset)
            return known[2]

    def cases(self) -> list[Case]:
        """Return all cases: training, validation, test. A name that two splits share stands for the first."""
        dataset = self.dataset()
        found: dict[str, Case] = {}
        for split in SPLITS:
            for case in dataset.cases(split):
                found.setdefault(case.id, case)
        return list(found.values())

    def case(self, case_id: str) -> Case:
        """Find a case by its id.

        Raises:
            Refused: 404, with the names that are known.
        """
        cases = {case.id: case for case in self.cases()}
        if case_id not in cases:
            known = list(cases)[:_MOST_NAMES]
            more = f" and {len(cases) - len(known)} more" if len(cases) > len(known) else ""
            raise Refused(404, f"unknown case '{case_id[:80]}'; known: {', '.join(known) or 'none'}{more}.")
        return cases[case_id]

    def inside(self, path: Path) -> Path:
        """Return a path that lies in the folder, links followed.

        Raises:
            DataError: It leads out of the folder and of the folders named for links.
        """
        real = path.resolve()
        if not any(real.is_relative_to(root) for root in self._roots):
            raise DataError(
                f"{path.relative_to(self.folder) if path.is_relative_to(self.folder) else path.name}: a link that "
                f"leads out of the data set; if that is meant, start with --links '{real.parent}'."
            )
        return real

    def _series(self, path: Path) -> dict[Path, object]:
        """Look at every link inside a folder of DICOM files; return its folders as they are, to see later changes.

        Raises:
            DataError: A link leads out.
        """
        found: dict[Path, object] = {}
        for top, folders, files in os.walk(path):
            found[Path(top)] = status_of(Path(top))
            for name in (*folders, *files):
                if os.path.islink(os.path.join(top, name)):
                    self.inside(Path(top, name))
        return found

    def view(self, case: Case) -> View:
        """Return how the voxels of a case lie in the view grid. Reads the header of its image.

        Raises:
            DataError: The image is gone or cannot be read.
        """
        source = case.images[0]
        status = file_status(case, source)
        key = (str(source), status.st_size, status.st_mtime_ns)
        if key not in self._views:
            self._views[key] = View.of(read_geometry(source))
        return self._views[key]

    # --- strokes ---

    @property
    def scribble_folder(self) -> Path:
        """Where new stroke files go: `scribblesTr`, or the chosen annotator's folder in it."""
        folder = self.folder / "scribblesTr"
        name = (self._scribbles or "").rstrip("/").rpartition("/")[2]
        return folder if name in ("", "scribblesTr") else folder / name

    def make_room_for_strokes(self) -> None:
        """Make sure that `dataset.json` names a value for *not annotated*.

        Raises:
            DataError: The file cannot be written.
        """
        from medcl.annotate.ignore_value import name_ignore

        with self._lock:
            if self.dataset().labels.strokes.ignore is None and (sentence := name_ignore(self.folder)):
                self.notices.append(sentence)

    def other_classes(self, *, keep: bool = False) -> str:
        """Say where `dataset.json` names other classes than those that the strokes here were drawn with.

        Strokes hold numbers of classes: with other names they would mean something else. New classes at the end are
        fine.

        Args:
            keep: Note the classes, where none are noted yet or some were added.

        Returns:
            A sentence; '' where nothing is wrong.
        """
        path, now = self.folder / STATE_FOLDER / "classes.json", list(self.dataset().classes)
        seen = (status_of(path), now)
        if seen == self._classes_seen:
            return ""
        before = read_json(path) if path.is_file() else []
        if not isinstance(before, list) or now[: len(before)] != before:
            return (
                f"The classes in dataset.json ({', '.join(now)}) are not those that strokes were drawn with here "
                f"({', '.join(map(str, before))}). Put them back; or, if every number still means the same structure, "
                f"remove {STATE_FOLDER}/classes.json."
            )
        if keep and now != before:
            write_json(self.state / path.name, now)
        if keep:
            self._classes_seen = (status_of(path), now)
        return ""

    def changed(self) -> None:
        """Say that strokes wait to be written; who keeps the files (`keeper`) hears it."""
        self.waiting.set()

    def strokes(self, case: Case) -> np.ndarray:
        """Return what is drawn on a case now.

        Returns:
            int16 (Z, Y, X) in the file's grid: class indices, `UNLABELLED` where nothing is drawn. Read only.
        """
        return self.strokes_and_version(case)[0]

    def strokes_and_version(self, case: Case) -> tuple[np.ndarray, int]:
        """Return what `strokes` does, and the version of the case that it belongs to."""
        from medcl.annotate.stroke_files import import_changed

        import_changed(self, case)
        with self.database.session(write=False) as session:
            flat, version = self.strokes_in_view(session, case)
        view = self.view(case)
        return view.from_view(flat.reshape(view.shape)), version

    def strokes_in_view(self, session: Session, case: Case) -> tuple[np.ndarray, int]:
        """Return what is drawn, int16 (voxels,) in the view grid, read only, and the version of the case."""
        version = session.scalar(select(CaseRow.version).where(CaseRow.id == case.id)) or 0
        try:
            flat = self._maps.at(session, case.id, version, self.view(case).voxels)
        except IndexError:
            raise DataError(f"case {case.id}: {case.images[0].name} has become smaller since strokes were drawn on it; "
                            "put the old image back.") from None  # fmt: skip
        return flat, version

    def drawn_voxels(self, session: Session, case: Case, version: int) -> dict[int, int]:
        """Return class index -> stroked voxels of a case at its version."""
        return self._maps.counts(session, case.id, version, self.view(case).voxels)

    def drawn_slices(self, session: Session, case: Case, axis: int) -> dict[int, frozenset[int]]:
        """Return slice along an axis (i, j, k) of the view grid -> classes that are drawn in it now."""
        version = session.scalar(select(CaseRow.version).where(CaseRow.id == case.id)) or 0
        return self._maps.slices(session, case.id, version, self.view(case).size, axis)

    def flush(self, case_id: str | None = None) -> None:
        """Write what is drawn into the files of `scribblesTr`, so that the folder is valid for every command.

        Args:
            case_id: Only this case; None: all that are behind.
        """
        from medcl.annotate.stroke_files import flush

        flush(self, case_id)

    def tell(
        self,
        session: Session,
        kind: str,
        action: str,
        *,
        case: str | None = None,
        version: int | None = None,
        job: int | None = None,
        stroke: UUID | None = None,
        author: str = "",
    ) -> EventRow:
        """Add an event: who did what when. Pages hear of it once the session is committed.

        Call it last in a session: in PostgreSQL others that tell of something wait until this session ends.
        """
        self.database.events_in_order(session)
        row = EventRow(
            at=now(), author=author, kind=kind, action=action, case=case, version=version, job=job, stroke=stroke
        )
        session.add(row)
        session.flush()
        return row

    def project(self, author: str = "") -> Project:
        """Return what a page needs first."""
        from medcl.annotate.cases import project

        return project(self, author)

    def _refuse_without_setup(self) -> None:
        if self.needs_setup:
            raise Refused(409, "this folder has no dataset.json yet; name the classes first (POST /api/project/setup).")

    def _stamp(self) -> tuple[object, ...]:
        folders = [f"{kind}{split}" for kind in ("images", "scribbles", "labels") for split in SPLITS]
        if self._scribbles:
            folders += [f"scribbles{split}/{self._scribbles.rpartition('/')[2]}" for split in SPLITS]
        return tuple(status_of(self.folder / name) for name in ("dataset.json", *folders))


def file_status(case: Case, path: Path) -> os.stat_result:
    """Return the status of a file of a case.

    Raises:
        DataError: It is gone, or a link leads to nothing.
    """
    try:
        return path.stat()
    except OSError as error:
        raise DataError(
            f"case {case.id}: expected the file {path.name}, but it cannot be opened ({error.strerror}); put the file "
            "back, or remove the link if it leads to nothing."
        ) from None


def status_of(path: Path) -> object:
    """Return what changes when a file or the names in a folder change; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def context_of(request: Request) -> Context:
    """Return the context of the application that a request came to."""
    context: Context = request.app.state.context
    return context


def author_of(request: Request) -> str:
    """Return the name that what this caller does is kept under.

    Raises:
        Refused: 422, the header is longer than 80 characters or not percent-encoded UTF-8.
    """
    given = request.headers.get("x-medcl-author", "")
    try:
        name = unquote(given, errors="strict").strip()
    except UnicodeDecodeError:
        raise Refused(422, "X-Medcl-Author: expected percent-encoded UTF-8, got other bytes.") from None
    if len(name) > 80 or not name.isprintable():
        raise Refused(422, "X-Medcl-Author: expected a name of at most 80 printable characters.")
    return name or context_of(request).author


Here = Annotated[Context, Depends(context_of)]
"""What a handler writes to get the context."""

Author = Annotated[str, Depends(author_of)]
"""What a handler writes to get the caller's name."""
