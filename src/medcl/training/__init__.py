"""The one loop: settings -> run."""

from __future__ import annotations

from medcl.training.run import RunResult, train

__all__ = ["RunResult", "train"]
