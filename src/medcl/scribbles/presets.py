"""Presets: settings whose strokes come near to those of real people, and what is known of the strokes of those people.

The table `known.json` holds quantiles of measured strokes (see `docs/strokes.md`), none of the data itself;
`benchmarks/stroke_realism.py` measures anew and writes it.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from medcl.errors import SettingsError, unknown_name
from medcl.scribbles.settings import ScribbleSettings

PRESETS: dict[str, dict[str, Any]] = {
    "acdc-like": {
        "mix": {"spiral": 0.45, "zigzag": 0.25, "contour": 0.2, "curve": 0.1},
        "ring_mix": {"centreline": 1.0},
        "thickness": 1.25,
        "thickness_spread": 0.0,
        "length": 0.92,
        "breaks": 0.15,
        "background": {"loops": 1.0, "loop_distance": 0.38, "loop_turns": 1.15, "far": 0.0, "holes": False},
    },
    "mscmr-like": {
        "mix": {"interior-border": 1.0},
        "ring_mix": {"contour": 0.9, "centreline": 0.1},
        "thickness": 3.0,
        "thickness_spread": 0.35,
        "depth": 0.25,
        "length": 1.15,
        "background": {
            "outlines": 2.4,
            "outline_distance": 4.0,
            "loops": 1.0,
            "loop_distance": 0.35,
            "loop_turns": 1.6,
            "loop_thickness": 8.5,
            "far": 0.0,
            "holes": False,
        },
    },
    "quick": {
        "mix": {"zigzag": 0.55, "spiral": 0.25, "curve": 0.1, "centreline": 0.1},
        "ring_mix": {"centreline": 0.7, "contour": 0.3},
        "thickness": 4.2,
        "thickness_spread": 0.05,
        "length": 0.9,
        "breaks": 0.7,
        "mistakes": 0.05,
        "background": {"outlines": 0.5, "outline_distance": 4.5, "loops": 0.6, "loop_distance": 0.2, "far": 1.0},
    },
}
"""Name -> what differs from the default settings."""


def preset(name: str, **changes: Any) -> ScribbleSettings:
    """Return the settings of a preset.

    Args:
        name: A key of `PRESETS`.
        **changes: Settings that replace those of the preset; groups such as `background` are merged.

    Raises:
        SettingsError: Unknown preset or setting, or a value out of range.
    """
    return ScribbleSettings.parse(merged(preset_values(name), changes), where=f"stroke preset '{name}'")


def preset_values(name: str) -> dict[str, Any]:
    """Return what a preset changes of the default settings.

    Raises:
        SettingsError: Unknown preset; the message lists the known ones.
    """
    if name not in PRESETS:
        raise SettingsError(unknown_name("stroke preset", name, PRESETS))
    return PRESETS[name]


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` put over it; nested groups are merged, weights of styles are replaced."""
    result = dict(base)
    for key, value in changes.items():
        nested = key not in ("mix", "ring_mix") and isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


@cache
def known_sets() -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return what was measured on real people's strokes: set -> kind -> quantity -> quantiles (`compare.QUANTILES`)."""
    table: dict[str, dict[str, dict[str, list[float]]]] = json.loads(
        files("medcl.scribbles").joinpath("known.json").read_text(encoding="utf-8")
    )["sets"]
    return table
