"""A caller may look at a training while it runs, and end it; looking changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from medcl.inference.model import Model
from medcl.training.run import train
from medcl.training.watching import Snapshot


def test_watching_changes_nothing_that_is_learnt(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []

    def watch(snapshot: Snapshot) -> None:
        seen.append((snapshot.step, snapshot.share))
        if snapshot.step % 2:
            case = snapshot.store[snapshot.store.cases("Tr")[0]]
            image = torch.from_numpy(np.array(case.image[:, 0]))[None]
            assert snapshot.forward(image).shape == (1, len(snapshot.plan.classes), *image.shape[2:])
            snapshot.save(tmp_path / "so-far")

    store = tmp_path / "store"
    alone = train(hearts, tmp_path / "alone", budget="4steps", settings=tiny, store=store)
    watched = train(hearts, tmp_path / "watched", budget="4steps", settings=tiny, store=store, watch=watch)

    assert seen == [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)]
    assert watched.finished
    ours, theirs = (load_file(run.model / "weights.safetensors") for run in (watched, alone))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert Model.load(tmp_path / "so-far", engine="torch").info.history["steps"] == 3


def test_who_watches_may_end_it_with_a_model(hearts: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    run = train(
        hearts, tmp_path / "run", budget="50steps", settings=tiny, store=tmp_path / "s", watch=lambda s: s.step == 3
    )
    assert (run.finished, run.steps) == (False, 3)
    assert Model.load(run.model, engine="torch").info.history["steps"] == 3
    assert not (run.folder / "report.html").exists()
    resumed = train(hearts, tmp_path / "run", resume=True, store=tmp_path / "s", watch=lambda s: s.step == 5)
    assert resumed.steps == 5
