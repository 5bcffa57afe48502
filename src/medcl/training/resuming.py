"""What a resumed run must have in common with the one it goes on with: settings and data, not the machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcl.data.store import Store
from medcl.errors import RunError
from medcl.files import read_json
from medcl.training.configure import RunConfig, configure
from medcl.training.hardware import Hardware
from medcl.training.raters import Rated


def resumed_config(out: Path, values: dict[str, Any]) -> RunConfig:
    """Return the settings of the run in `out`.

    Raises:
        RunError: There is none, or `values` holds other settings.
    """
    if not (out / "run.json").exists():
        raise RunError(f"{out}: expected a run to resume, found no run.json; start it without resume (--resume).")
    stored = read_json(out / "run.json")["settings"]
    before = configure(stored)
    wanted = configure(_over(stored, values)).as_dict()
    if wanted != before.as_dict():
        other = ", ".join(key for key, value in before.as_dict().items() if wanted.get(key) != value)
        raise RunError(
            f"{out}: a resumed run keeps its settings; leave out the other options ({other}), or start a new run."
        )
    return before


def _over(stored: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings over those of a run, which hold what its data chose too (strides, reach): the unsaid stays."""
    merged = dict(stored)
    for key, value in values.items():
        before = stored.get(key)
        if isinstance(before, dict) and isinstance(value, str):
            value = {"name": value}
        if isinstance(before, dict) and isinstance(value, Mapping) and _is_part(key, value, before):
            merged[key] = _over(before, value)
        elif value is not None:
            merged[key] = value
    return merged


def _is_part(key: str, value: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether a group says a part of what was, and not something else: another method, another budget."""
    return key != "budget" and value.get("name") in (None, before.get("name"))


def check_same_data(out: Path, prepared: Store, rated: Rated | None) -> None:
    """Refuse to go on with other images, strokes or labels.

    Raises:
        RunError: The data changed since the run in `out` was started.
    """
    stored = read_json(out / "run.json")
    before = stored.get("prepared", prepared.path.name)  # runs of older versions do not say
    if prepared.path.name != before or (rated is not None and stored.get("raters") != rated.key):
        raise RunError(
            f"{out}: expected the data that the run was started with, but images, strokes, labels or dataset.json of "
            "its training or validation cases changed since; bring them back, or start a new run."
        )


def other_hardware(out: Path, hardware: Hardware) -> tuple[str, ...]:
    """Say what a resumed run computes with instead of what it was started with."""
    before, now = (
        [r.partition(":")[0] for r in rs] for rs in (read_json(out / "run.json")["hardware"], hardware.reasons)
    )
    changes = [f"{new} (before: {old})" for old, new in zip(before, now, strict=False) if old != new]
    if not changes:
        return ()
    return (f"goes on with {', '.join(changes)}: as good as an uninterrupted run, but not equal to the last bit",)
