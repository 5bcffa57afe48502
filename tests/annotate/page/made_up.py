"""A model and predictions as the worker leaves them, without a training: known probabilities, known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medcl.annotate.context import Context
from medcl.annotate.state.tables import JobRow, ModelRow, PredictionRow, now
from medcl.data.io import write_map
from medcl.queries.places import drawing_axis, places_of, to_rows


def leave_predictions(folder: Path, probabilities: dict[str, np.ndarray]) -> None:
    """Write predictions beside a running server, as its worker does, and tell the pages.

    Args:
        folder: Dataset folder.
        probabilities: Case -> (classes, Z, Y, X) in the file's grid; their sum over classes is 1.
    """
    context = Context(folder)
    try:
        points = [
            {"step": step, "values": {"partial_ce": 1.2 / step, "mix": 0.4 + 0.5 / step}} for step in range(1, 30)
        ]
        scores = [{"step": 10 * step, "values": {"dice": 0.9 - 0.6 / step}} for step in range(1, 5)]
        with context.database.session() as session:
            progress = {
                "losses": [[one["step"], one["values"]] for one in points],
                "scores": [[one["step"], one["values"]] for one in scores],
            }
            job = JobRow(kind="train", state="finished", author="Tester", at=now(), started=now(), ended=now(),
                         share=1.0, asked={}, progress=progress, strokes=6)  # fmt: skip
            session.add(job)
            session.flush()
            model = ModelRow(job=job.id, at=now(), folder="runs/1", steps=40, strokes=6, seconds=30.0, voxels=200,
                             scores={"dice": 0.75})  # fmt: skip
            session.add(model)
            session.flush()
            job_number, number = job.id, model.id
            context.tell(session, "model", "ready", job=job_number)
            context.tell(session, "job", "finished", job=job_number)
        for name, share in probabilities.items():
            case = context.case(name)
            view = context.view(case)
            geometry = view.grid.geometry
            mask = share.argmax(axis=0).astype(np.uint8)
            entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(axis=0) / np.log(len(share))
            place = Path("predictions") / f"{name}-{number}"
            (context.state / place).mkdir(parents=True)
            write_map(context.state / place / "mask.nii.gz", mask, geometry)
            write_map(context.state / place / "uncertainty.nii.gz", np.rint(entropy * 255).astype(np.uint8), geometry)
            x, y, z = view.spacing_mm
            axis = drawing_axis(view.shape, (z, y, x))
            places = places_of(name, view.to_view(share.astype(np.float32)), (z, y, x), axis)
            voxel_ml = float(np.prod(geometry.spacing_mm)) / 1000
            volumes = {
                one: float((mask == index).sum()) * voxel_ml
                for index, one in enumerate(context.dataset().classes)
                if index
            }
            with context.database.session() as session:
                session.add(
                    PredictionRow(
                        case=name,
                        model=number,
                        at=now(),
                        folder=place.as_posix(),
                        uncertainty=float(entropy.mean()),
                        volumes_ml=volumes,
                        places=to_rows(places),
                    )
                )
                context.tell(session, "prediction", "ready", case=name, job=job_number)
    finally:
        context.close()
