"""The errors that medcl raises on purpose: each says what was expected, what came and what to do.

The command line turns a `MedclError` into one red line and exit code 1; anything else keeps its trace.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MedclError(Exception):
    """Base of all expected errors. The message is one sentence: expected, got, do this."""


class SettingsError(MedclError):
    """A setting is unknown or its value is not usable."""


class DataError(MedclError):
    """A file, case or dataset folder is not what it should be."""


class ModelError(MedclError):
    """A model folder, a weights file or an exported network is not usable."""


class RunError(MedclError):
    """A training run cannot start, go on or be resumed."""


class MissingExtraError(MedclError):
    """An optional dependency is needed for what was asked."""

    def __init__(self, package: str, extra: str, what: str) -> None:
        super().__init__(f"{what} needs the package '{package}'; install it with: pip install 'medcl[{extra}]'")


def counted(number: int, what: str) -> str:
    """Return "1 place" or "3 places"; `what` in the singular."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name, with the nearest known names and the whole list.

    Args:
        kind: What the name stands for, in the singular ("method", "setting", "class").
        name: What came.
        known: All names that would have been accepted.

    Returns:
        One sentence for an error message.
    """
    names = sorted(str(k) for k in known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {kind} '{name}'{hint} Known: {', '.join(names) if names else 'none'}."
