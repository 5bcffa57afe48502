"""The thread that keeps `scribblesTr` and the database together while people draw."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from medcl.annotate.stroke_files import import_changed
from medcl.errors import MedclError

if TYPE_CHECKING:
    from medcl.annotate.context import Context

QUIET_SECONDS = 1.0
"""Files are written when nobody has drawn for this long."""

PATIENCE_SECONDS = 10.0
"""And at the latest so long after a change."""

LOOK_SECONDS = 60.0
"""How often files are looked at that somebody else may have changed."""

_log = logging.getLogger(__name__)


class Keeper(threading.Thread):
    """Writes stroke files after changes, and reads those that others wrote: at the start and once a minute.

    Args:
        context: What to keep.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(name="medcl-keeper", daemon=True)
        self._context = context
        self._ended = threading.Event()
        self._said: dict[str, set[str]] = {}
        self._now: set[str] = set()

    def run(self) -> None:
        """Work until `stop`."""
        self._guarded(self._take_over)
        self._guarded(self._context.flush)
        looked = time.monotonic()
        while not self._ended.is_set():
            if self._context.waiting.wait(timeout=1.0) and not self._ended.is_set():
                self._wait_for_quiet()
                self._guarded(self._context.flush)
            if time.monotonic() - looked > LOOK_SECONDS:
                self._guarded(self._take_over)
                self._guarded(self._context.flush)  # what could not be written before is tried again
                looked = time.monotonic()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._ended.set()
        self._context.waiting.set()
        if self.is_alive():
            self.join(timeout=30)
        self._guarded(self._context.flush)

    def _wait_for_quiet(self) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while self._context.waiting.is_set() and time.monotonic() < until and not self._ended.is_set():
            self._context.waiting.clear()
            self._ended.wait(QUIET_SECONDS)
        self._context.waiting.clear()

    def _take_over(self) -> None:
        if self._context.needs_setup:
            return
        for case in self._context.cases():
            if self._ended.is_set():
                return
            try:
                import_changed(self._context, case)
            except (MedclError, OSError) as error:
                self._say(str(error))

    def _guarded(self, work) -> None:  # type: ignore[no-untyped-def]
        self._now = set()
        try:
            work()
        except Exception as error:  # the thread must live on; what went wrong is told and tried again
            if not isinstance(error, MedclError):
                _log.exception("keeping the stroke files")
            self._say(f"Strokes are kept, but files in scribblesTr could not be written: {error}")
        name = getattr(work, "__name__", "")
        for sentence in self._said.get(name, set()) - self._now:  # what was wrong before is not any more
            with contextlib.suppress(ValueError):
                self._context.notices.remove(sentence)
        self._said[name] = self._now

    def _say(self, sentence: str) -> None:
        _log.warning("%s", sentence)
        self._now.add(sentence)
        if sentence not in self._context.notices:
            self._context.notices.append(sentence)
