"""A tiny data set on oblique, mixed-up axes, and who calls its application; imported as `annotate_tiny`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient

from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image, write_map
from medcl.files import write_json

TOKEN = "a-token-for-tests"
ADDRESS = "http://127.0.0.1:8765"

# Axes x, y, z of the file point about to the back, to the head and to the patient's right: all swapped, and oblique.
_TURNED = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_TILT = 0.2
_TILTED = np.array([[np.cos(_TILT), -np.sin(_TILT), 0], [np.sin(_TILT), np.cos(_TILT), 0], [0, 0, 1]]) @ _TURNED
OBLIQUE = Geometry((12, 20, 24), (2.5, 1.0, 0.9), (11.0, -7.0, 30.0), tuple(_TILTED.ravel().tolist()))
UPRIGHT = Geometry((4, 20, 24), (8.0, 1.0, 1.0))


def make_dataset(folder: Path, *, ignore: bool = True, scribble: bool = False) -> Path:
    """Write cases 'oblique' and 'upright' for training and 'held' for validation; classes organ and lump."""
    random = np.random.default_rng(0)
    for split, name, geometry in (("Tr", "oblique", OBLIQUE), ("Tr", "upright", UPRIGHT), ("Val", "held", UPRIGHT)):
        array = random.integers(0, 1000, (1, *geometry.size)).astype(np.int16)
        write_image(folder / f"images{split}" / f"{name}_0000.nii.gz", Image(array, geometry))
    label = np.zeros(UPRIGHT.size, np.uint8)
    label[1:3, 5:9, 6:12] = 1
    write_map(folder / "labelsVal" / "held.nii.gz", label, UPRIGHT)
    labels = {"background": 0, "organ": 1, "lump": 2, **({"ignore": 3} if ignore else {})}
    write_json(folder / "dataset.json", {"name": "tiny", "channel_names": {"0": "MR"}, "labels": labels})
    if scribble:
        drawn = np.full(OBLIQUE.size, 3, np.uint8)
        drawn[3, 4, 5:9] = 1
        drawn[6, 10:14, 2] = 0
        write_map(folder / "scribblesTr" / "oblique.nii.gz", drawn, OBLIQUE)
    return folder


@contextmanager
def serving(app: FastAPI, *, author: str = "") -> Iterator[TestClient]:
    """Run an application with its background work, and give a caller who knows the token."""
    headers = {"Authorization": f"Bearer {TOKEN}", **({"X-Medcl-Author": author} if author else {})}
    with TestClient(app, base_url=ADDRESS, headers=headers, client=("127.0.0.1", 5000)) as client:
        yield client


Draw = Callable[..., dict]


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for background work."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    assert true()
