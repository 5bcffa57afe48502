"""Grown strokes: where they reach, and where they must not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medcl.data.dataset import Dataset
from medcl.data.labels import UNLABELLED
from medcl.data.plan import make_plan
from medcl.data.store import Store
from medcl.scribbles import preset, simulate
from medcl.scribbles.random_walker import Walk
from medcl.training import growing
from medcl.training.growing import grow
from medcl.training.sampling import Sampler


def two_halves(depth: int = 1, size: tuple[int, int] = (8, 16)) -> tuple[np.ndarray, np.ndarray]:
    """Dark left, bright right, a stroke in the middle of each."""
    image = np.zeros((1, depth, *size), np.float32)
    image[..., size[-1] // 2 :] = 4
    image += 0.01 * np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
    strokes = np.full((depth, *size), UNLABELLED, np.int8)
    strokes[:, size[0] // 2, 2:4] = 0
    strokes[:, size[0] // 2, -4:-2] = 1
    return image, strokes


def grown(
    image: np.ndarray, strokes: np.ndarray, *, classes: int = 2, volume: bool = False, **walk: float
) -> np.ndarray:
    possible = np.stack([[(s == c).any() for c in range(classes)] for s in strokes])
    return grow(image, strokes, possible, Walk(**walk), across_slices=volume)  # type: ignore[arg-type]


@pytest.mark.parametrize("volume", [False, True], ids=["slices", "volume"])
def test_halves_are_filled_from_their_strokes(volume: bool) -> None:
    image, strokes = two_halves(depth=3)
    found = grown(image, strokes, volume=volume)
    drawn = strokes != UNLABELLED
    assert (found[drawn] == UNLABELLED).all(), "strokes stay strokes"
    # Interpolated from the coarse grid, the pixels beside the edge are less than certain.
    assert (found[..., :7][~drawn[..., :7]] == 0).all()
    assert (found[..., 9:][~drawn[..., 9:]] == 1).all()
    assert (found[..., 7:9] == UNLABELLED).all()
    assert found.dtype == strokes.dtype
    exact = grown(image, strokes, volume=volume, shrink=1)
    assert ((exact == 1) | (strokes == 1))[..., 8:].all()
    assert ((exact == 0) | (strokes == 0))[..., :8].all()


@pytest.mark.parametrize("shrink", [1, 2, 3])
def test_odd_sizes(shrink: int) -> None:
    found = grown(*two_halves(size=(7, 15)), shrink=shrink)
    assert found.shape == (1, 7, 15)
    assert (found != UNLABELLED).mean() >= 0.65  # the cells across the edge belong to nobody


def test_unsure_pixels_stay_unlabelled() -> None:
    image, strokes = two_halves()
    noise = np.random.default_rng(1).normal(size=image.shape)
    shares = [(grown(noise, strokes, certainty=c) != UNLABELLED).mean() for c in (0.6, 0.8, 0.95)]
    assert 1 > shares[0] > shares[1] > shares[2] > 0


def test_a_class_that_may_be_there_without_a_stroke_stops_the_walk() -> None:
    image, strokes = two_halves(depth=2)
    possible = np.array([[True, True, False], [True, True, True]])
    found = grow(image, strokes, possible, Walk(), across_slices=False)
    assert (found[0] != UNLABELLED).any()
    assert (found[1] == UNLABELLED).all()
    assert (grow(image, strokes, possible, Walk(), across_slices=True) == UNLABELLED).all()


def test_a_volume_grows_into_slices_without_strokes() -> None:
    image, strokes = two_halves(depth=3)
    strokes[1:] = UNLABELLED
    assert (grown(image, strokes)[1:] == UNLABELLED).all()
    assert (grown(image, strokes, volume=True)[2, :, 10:] == 1).all()


def test_a_cell_with_equal_strokes_of_two_classes_is_no_seed() -> None:
    image, strokes = two_halves()
    strokes[0, 0, 0], strokes[0, 1, 1] = 0, 1  # in the same 2 x 2 cell
    found = grown(image, strokes)
    assert (found[0, :, 2:7][strokes[0, :, 2:7] == UNLABELLED] == 0).all()


def test_large_volumes_walk_on_a_coarser_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    image, strokes = two_halves(depth=3)
    seen = []

    def watch(coarse: np.ndarray, *args: object, **options: object) -> np.ndarray:
        seen.append(coarse.shape)
        return walk(coarse, *args, **options)  # type: ignore[arg-type]

    walk = growing.random_walk
    monkeypatch.setattr(growing, "random_walk", watch)
    monkeypatch.setattr(growing, "LARGEST_WALK", 45)
    assert (grown(image, strokes, volume=True)[:, :, 12:] != UNLABELLED).any()
    assert seen == [(1, 3, 3, 6)]  # cells of 3 x 3


@pytest.fixture(scope="module")
def sampler(hearts: Path, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    dataset = Dataset.open(hearts)
    plan = make_plan(dataset, patch=(64, 64))
    store = Store.prepare(dataset, plan, tmp_path_factory.mktemp("store"))
    return Sampler(
        store, store.cases("Tr"), plan, batch_size=6, patch=plan.patch, oversample=0.5, seed=0, reach=1.0, walk=Walk()
    )


def test_batches_hold_what_grew(sampler: Sampler) -> None:
    batch = sampler.batch(0)
    assert batch.grown is not None
    assert set(batch.grown.unique().tolist()) == {0.0, 1.0}
    assert float((batch.grown * batch.target.sum(dim=1, keepdim=True)).sum()) == 0, "strokes are not grown over"
    assert float((batch.grown * batch.absent).sum()) == 0, "no class where it is known not to be"
    assert float(batch.grown.sum()) > 3 * float(batch.target.sum())
    assert batch.repeat(2).grown.shape[0] == 12
    assert replace(batch, grown=None).repeat(2).grown is None


def test_nothing_grows_unless_asked_for(sampler: Sampler) -> None:
    sources = sampler.sources
    assert all(source.grown is not None for source in sources)
    plain = Sampler(
        {s.case.id: s.case for s in sources},  # type: ignore[arg-type]
        [s.case.id for s in sources],
        sampler.plan,
        batch_size=2,
        patch=sampler.patch,
        oversample=0.5,
        seed=0,
    )
    assert plain.batch(0).grown is None
    assert all(source.grown is None for source in plain.sources)


def test_grown_strokes_are_right_where_the_truth_is_known(hearts: Path) -> None:
    dataset = Dataset.open(hearts)
    (case,) = dataset.cases("Val")
    truth, image = dataset.read_label(case), dataset.read_image(case)
    strokes = simulate(truth, image.geometry.spacing_mm, preset("acdc-like"))
    found = grown(image.array, strokes, classes=len(dataset.classes))
    new = found != UNLABELLED
    assert (found[new] == truth[new]).mean() > 0.97
    assert ((found == truth) & (truth > 0)).sum() > 20


def test_in_3d_a_slice_without_strokes_does_not_stop_the_walk(hearts: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(hearts)
    plan = make_plan(dataset, ndim=3, patch=(4, 32, 32))
    store = Store.prepare(dataset, plan, tmp_path / "store")
    case = store[store.cases("Tr")[0]]
    strokes = np.array(case.scribble)
    strokes[1] = UNLABELLED  # nobody looked at this slice
    strokes[strokes == 1] = UNLABELLED  # and this class was looked for and not found
    cases = {"case": replace(case, scribble=strokes)}
    (source,) = Sampler(
        cases,  # type: ignore[arg-type]
        ["case"],
        plan,
        batch_size=1,
        patch=plan.patch,
        oversample=0.5,
        seed=0,
        walk=Walk(),
    ).sources
    assert source.grown is not None
    assert (source.grown[1] != UNLABELLED).any()
    assert not (source.grown == 1).any()
