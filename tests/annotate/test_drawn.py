"""A map that grows stroke by stroke is the map of all strokes."""

import random

import numpy as np
from fastapi.testclient import TestClient


def test_growing_maps_equal_a_fresh_replay(client: TestClient, app, draw) -> None:  # type: ignore[no-untyped-def]
    from medcl.annotate.drawn import DrawnMaps

    context = app.state.context
    case = context.case("upright")
    voxels = context.view(case).voxels
    dice = random.Random(3)
    ids: list[str] = []
    for step in range(25):
        version = client.get("/api/cases/upright").json()["version"]
        if ids and dice.random() < 0.3:
            action, chosen = dice.choice(("undo", "redo")), dice.choice(ids)
            client.post(f"/api/cases/upright/strokes/{chosen}/{action}", json={"base_version": version})
        else:
            value = dice.choice((0, 1, 2, None))
            ids.append(draw("upright", [dice.randrange(440), 40], value, base=version)["stroke"]["id"])
        if step % 3:
            with context.database.session(write=False) as session:
                grown, now = context.strokes_in_view(session, case)
                fresh = DrawnMaps().at(session, case.id, now, voxels)
                size = context.view(case).size
                lists = DrawnMaps()
                assert context.drawn_slices(session, case, 1) == lists.slices(session, case.id, now, size, 1)
                assert context.drawn_voxels(session, case, now) == lists.counts(session, case.id, now, voxels)
            np.testing.assert_array_equal(grown, fresh)
