"""A small data set with an oblique, a plain and a DICOM scan, the server on it, and predictions put there by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra: pip install 'medcl[annotate]'")

from fastapi.testclient import TestClient

from medcl.annotate.app import create_app
from medcl.annotate.context import Context
from medcl.annotate.state.tables import JobRow, ModelRow, PredictionRow, now
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image, write_map

SIZE = (6, 8, 10)
TOKEN = "a-token-for-tests-that-is-long-enough"
_C, _S = np.cos(0.3), np.sin(0.3)
OBLIQUE = Geometry(
    SIZE,
    (3.0, 0.75, 0.5),
    (-12.0, 40.5, 7.25),
    # x runs to the front and up, y to the left, z to the right and down: nothing is along an axis of the patient
    tuple((np.array([[0, 1, 0], [_C, 0, _S], [-_S, 0, _C]]).T @ np.diag([1, -1, 1])).ravel().tolist()),
)
PLAIN = Geometry(SIZE, (2.5, 1.0, 1.0))


@dataclass
class World:
    """A served data set.

    Attributes:
        folder: The dataset folder.
        client: Calls the server with its token.
    """

    folder: Path
    client: TestClient

    @property
    def context(self) -> Context:
        """The server's own context."""
        context: Context = self.client.app.state.context  # type: ignore[attr-defined]
        return context

    def predict(self, case: str, mask: np.ndarray) -> int:
        """Put a prediction of class indices (Z, Y, X) there, as the worker does; return its number."""
        context = self.context
        with context.database.session() as session:
            job = JobRow(kind="train", state="finished", at=now(), asked={}, progress={})
            session.add(job)
            session.flush()
            model = ModelRow(
                job=job.id, at=now(), folder="runs/1", steps=1, strokes=1, seconds=1.0, voxels=1, scores={"dice": 0.5}
            )
            session.add(model)
            session.flush()
            row = PredictionRow(
                case=case, model=model.id, at=now(), folder="", uncertainty=0.5, volumes_ml={}, places=[]
            )
            session.add(row)
            session.flush()
            row.folder = f"predictions/{case}/{row.id}"
            number = row.id
        place = context.state / "predictions" / case / str(number)
        geometry = context.view(context.case(case)).grid.geometry
        write_map(place / "mask.nii.gz", mask, geometry)
        write_map(place / "uncertainty.nii.gz", np.zeros(mask.shape, np.uint8), geometry)
        return number

    def version(self, case: str) -> int:
        """Return the version of a case."""
        return int(self.client.get(f"/api/cases/{case}").json()["version"])

    def draw(self, case: str, voxels: list[tuple[int, int, int]], value: int) -> None:
        """Draw voxels (z, y, x) of the file's grid, through the API: two seconds, a stroke in each axial slice."""
        view = self.context.view(self.context.case(case))
        chosen = np.zeros(view.grid.geometry.size, bool)
        chosen[tuple(np.transpose(voxels))] = True
        numbers = np.flatnonzero(view.to_view(chosen).ravel())
        slices = numbers // (view.size[0] * view.size[1])
        for index in np.unique(slices).tolist():
            runs = [number for start in numbers[slices == index].tolist() for number in (start, 1)]
            body = {"id": str(uuid4()), "base_version": self.version(case), "value": value, "slice": index,
                    "runs": runs, "seconds": 2.0 / len(np.unique(slices))}  # fmt: skip
            answer = self.client.post(f"/api/cases/{case}/strokes", json=body)
            assert answer.status_code == 200, answer.text

    def review(self, case: str, verdict: str, **more: Any) -> Any:
        """Post a review with the current version."""
        body = {"verdict": verdict, "base_version": self.version(case), **more}
        return self.client.post(f"/api/cases/{case}/review", json=body)


@pytest.fixture
def world(tmp_path: Path, complete_dicom: Callable[..., Path]) -> Iterator[World]:
    folder = tmp_path / "hearts"
    generator = np.random.default_rng(0)
    for name, geometry in (("oblique", OBLIQUE), ("plain", PLAIN)):
        image = Image(generator.integers(-1000, 950, (1, *SIZE)).astype(np.int16), geometry)
        write_image(folder / "imagesTr" / f"{name}_0000.nii.gz", image)
    write_image(
        folder / "imagesTs" / "test_0000.nii.gz",
        Image(generator.integers(-1000, 950, (1, *SIZE)).astype(np.int16), PLAIN),
    )
    complete_dicom(folder / "imagesTr" / "ct_0000", generator.integers(0, 2000, SIZE))
    labels = {"background": 0, "RV": 1, "LV": 5, "ignore": 9}  # numbers that are no indices
    content = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    app = create_app(folder, token=TOKEN)
    with TestClient(app, base_url="http://127.0.0.1:8100", headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield World(folder, client)
