"""The application: routers of all parts, errors as `Problem`, security, and the page."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path

from fastapi import FastAPI

from medcl.annotate.context import Context

ROUTES = ("project", "cases", "strokes", "events", "predictions", "jobs", "queries", "statistics", "review", "export",
          "report", "monai")  # fmt: skip
"""Modules of `routes/` with a `router`."""


def create_app(folder: str | Path, *, database: str | None = None, token: str | None = None) -> FastAPI:
    """Make the application for a folder.

    Args:
        folder: Dataset folder, or a folder of scans.
        database: Address of the database; None: SQLite in the folder.
        token: What callers must know; None: a random one.
    """
    app = FastAPI(title="medcl annotate")
    app.state.context = Context(folder, database=database)
    for name in ROUTES:
        if importlib.util.find_spec(f"medcl.annotate.routes.{name}"):
            app.include_router(import_module(f"medcl.annotate.routes.{name}").router)
    return app
