"""Applications of a tiny data set, and callers."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from medcl.annotate.app import create_app

_spec = importlib.util.spec_from_file_location("annotate_tiny", Path(__file__).with_name("tiny.py"))
assert _spec is not None
assert _spec.loader is not None
sys.modules["annotate_tiny"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["annotate_tiny"])

from annotate_tiny import TOKEN, Draw, make_dataset, serving  # noqa: E402  # found where the line above put it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a tiny data set without strokes."""
    return make_dataset(tmp_path / "tiny")


@pytest.fixture
def app(folder: Path, tmp_path: Path) -> FastAPI:
    """Return the application of the tiny data set."""
    return create_app(folder, token=TOKEN, page=tmp_path / "no-page")


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Return a caller who knows the token, while the application runs."""
    with serving(app) as caller:
        yield caller


@pytest.fixture
def draw(client: TestClient) -> Draw:
    """Return a function that draws runs on a case and returns the answer."""
    versions: dict[str, Iterator[int]] = {}

    def drawing(case: str, runs: list[int], value: int | None = 1, *, base: int | None = None, id_: UUID | None = None,
                **more: object) -> dict:  # fmt: skip
        known = next(versions.setdefault(case, itertools.count()))
        body = {"id": str(id_ or uuid4()), "base_version": known if base is None else base, "value": value,
                "tool": "pen" if value is not None else "eraser", "runs": runs, **more}  # fmt: skip
        answer = client.post(f"/api/cases/{case}/strokes", json=body)
        return {"status": answer.status_code, **answer.json()}

    return drawing
