"""Made-up but realistic studies with dense labels and strokes, for the demo, for tests and for a first look."""

from medcl.phantom.heart import heart_volume
from medcl.phantom.settings import PhantomSettings
from medcl.phantom.strokes import StrokeSettings, draw_strokes
from medcl.phantom.writer import PhantomCase, make_phantom, phantom_case

__all__ = [
    "make_phantom",
    "PhantomSettings",
    "StrokeSettings",
    "PhantomCase",
    "phantom_case",
    "heart_volume",
    "draw_strokes",
]
