"""What the annotation cost and bought."""

from __future__ import annotations

from fastapi import APIRouter

from medcl.annotate.context import Here
from medcl.annotate.schemas import Statistics
from medcl.annotate.statistics import statistics

router = APIRouter(prefix="/api", tags=["statistics"])


@router.get("/statistics")
def get_statistics(context: Here) -> Statistics:
    """Strokes, seconds, and Dice on held-back strokes for each model."""
    return statistics(context)
