"""Scores, statistics and reports: how well masks agree with labels, and how sure one can be of that."""

from __future__ import annotations

from medcl.evaluation.compare import evaluate

__all__ = ["evaluate"]
