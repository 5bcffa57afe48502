"""Strokes: simulated from dense labels, measured, compared with those of real people, and checked for coverage."""

from medcl.scribbles.presets import PRESETS, preset
from medcl.scribbles.settings import BackgroundSettings, ScribbleSettings, StrokeBudget, StrokeCost
from medcl.scribbles.simulator import Drawing, draw, simulate
from medcl.scribbles.styles import STYLES

__all__ = [
    "simulate",
    "draw",
    "Drawing",
    "preset",
    "PRESETS",
    "ScribbleSettings",
    "BackgroundSettings",
    "StrokeBudget",
    "StrokeCost",
    "STYLES",
]
