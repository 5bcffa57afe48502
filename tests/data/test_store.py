from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from medcl.data.dataset import Dataset
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image, write_map
from medcl.data.labels import UNLABELLED
from medcl.data.plan import Plan, make_plan
from medcl.data.prepare import prepare_image, prepare_map
from medcl.data.store import STALE_SECONDS, Store, _machine, _publish
from medcl.errors import DataError

IGNORE = 3
SIZE = (6, 40, 36)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set: case a has strokes, b strokes and a label, c neither; d is for validation; e for testing."""
    return write_dataset(tmp_path / "set")


def write_dataset(folder: Path) -> Path:
    geometry = Geometry(SIZE, (6.0, 1.0, 1.0))
    rng = np.random.default_rng(0)
    label = np.zeros(SIZE, dtype=np.uint8)
    label[2:, 10:20, 10:20] = 1
    label[2:, 20:30, 10:20] = 2
    stroke = np.full(SIZE, IGNORE, dtype=np.uint8)
    stroke[3, 15, 11:19] = 1
    stroke[3, 25, 11:19] = 2
    stroke[1:4, 35, 5:30] = 0
    for name, split in (("a", "Tr"), ("b", "Tr"), ("c", "Tr"), ("d", "Val"), ("e", "Ts")):
        values = rng.normal(100, 5, size=(1, *SIZE)) + 50 * label
        write_image(folder / f"images{split}" / f"{name}_0000.nii.gz", Image(values.astype(np.int16), geometry))
        if name in "ab":
            write_map(folder / "scribblesTr" / f"{name}.nii.gz", stroke, geometry)
        if name in "bde":
            write_map(folder / f"labels{split}" / f"{name}.nii.gz", label, geometry)
    labels = {"background": 0, "RV": 1, "LV": 2, "ignore": IGNORE}
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "MR"}, "labels": labels}), encoding="utf-8")
    return folder


def prepare(folder: Path, cache: Path, plan: Plan | None = None) -> tuple[Store, list[str]]:
    dataset = Dataset.open(folder)
    prepared: list[str] = []
    store = Store.prepare(
        dataset, plan or make_plan(dataset), cache, progress=lambda case, number, total: prepared.append(case)
    )
    return store, prepared


def test_cases_hold_what_was_prepared(folder: Path, tmp_path: Path) -> None:
    store, prepared = prepare(folder, tmp_path / "cache")
    dataset = Dataset.open(folder)
    plan = make_plan(dataset)
    assert prepared == ["a", "b", "c", "d"]
    assert (store.cases("Tr"), store.cases("Val"), store.cases("Ts")) == (["a", "b", "c"], ["d"], [])
    assert len(store) == 4
    assert "a" in store
    assert "e" not in store
    case = next(case for case in dataset.cases("Tr") if case.id == "b")
    image = prepare_image(dataset.read_image(case), plan)
    opened = store["b"]
    np.testing.assert_array_equal(opened.image, image.array)
    np.testing.assert_array_equal(opened.scribble, prepare_map(dataset.read_scribble(case), image, plan))
    np.testing.assert_array_equal(opened.label, prepare_map(dataset.read_label(case), image, plan))
    assert (opened.split, opened.annotated, opened.geometry) == ("Tr", (0, 1, 2), image.geometry)
    assert opened.grid == image.grid
    assert opened.spacing_mm == image.spacing_mm
    assert isinstance(opened.image, np.memmap)
    assert not opened.image.flags.writeable
    assert opened.scribble is not None
    assert opened.scribble.dtype == np.int8
    assert set(np.unique(opened.scribble)) == {UNLABELLED, 0, 1, 2}


def test_what_is_missing_is_none_and_slices_know_their_classes(folder: Path, tmp_path: Path) -> None:
    store, _ = prepare(folder, tmp_path / "cache")
    assert store["a"].label is None
    assert store["c"].scribble is None
    assert store["c"].label is None
    assert store["d"].scribble is None
    assert not store["c"].drawn.any()
    none, background, everything = [False] * 3, [True, False, False], [True] * 3
    assert store["a"].drawn.tolist() == [none, background, background, everything, none, none]
    assert store["d"].drawn.tolist() == [background] * 2 + [everything] * 4


def test_a_second_time_nothing_is_prepared(folder: Path, tmp_path: Path) -> None:
    first, _ = prepare(folder, tmp_path / "cache")
    second, prepared = prepare(folder, tmp_path / "cache")
    assert prepared == []
    assert first.path == second.path


def test_what_changes_no_array_keeps_the_store(folder: Path, tmp_path: Path) -> None:
    prepare(folder, tmp_path / "cache")
    plan = make_plan(Dataset.open(folder))
    _, prepared = prepare(folder, tmp_path / "cache", plan.model_copy(update={"patch": (16, 16), "notes": ("mine",)}))
    assert prepared == []


@pytest.mark.parametrize("change", ["image", "scribble", "label", "meaning", "annotated", "spacing", "new case"])
def test_any_change_of_sources_or_plan_gives_another_store(folder: Path, tmp_path: Path, change: str) -> None:
    first, _ = prepare(folder, tmp_path / "cache")
    plan = make_plan(Dataset.open(folder))
    geometry = Geometry(SIZE, (6.0, 1.0, 1.0))
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    if change in ("image", "new case"):
        name = "a" if change == "image" else "new"
        values = np.random.default_rng(9).integers(0, 99, size=(1, *SIZE)).astype(np.int16)
        write_image(folder / "imagesTr" / f"{name}_0000.nii.gz", Image(values, geometry))
    elif change == "scribble":
        write_map(folder / "scribblesTr" / "a.nii.gz", np.full(SIZE, 2, dtype=np.uint8), geometry)
    elif change == "label":
        write_map(folder / "labelsVal" / "d.nii.gz", np.full(SIZE, 2, dtype=np.uint8), geometry)
    elif change == "meaning":
        content["scribble_labels"] = content["labels"] | {"RV": 2, "LV": 1}
    elif change == "annotated":
        content["annotated"] = {"c": ["RV"]}
    else:
        plan = plan.model_copy(update={"spacing_mm": (None, 1.5, 1.5)})
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    second, prepared = prepare(folder, tmp_path / "cache", plan)
    assert "a" in prepared
    assert second.path != first.path
    np.testing.assert_array_equal(first["b"].image.shape[:2], (1, 6))  # the first one still opens


@pytest.mark.parametrize("damage", ["short array", "no array", "no index", "broken index", "old format"])
def test_a_damaged_store_is_made_anew(folder: Path, tmp_path: Path, damage: str) -> None:
    store, _ = prepare(folder, tmp_path / "cache")
    array, index = store.path / "Tr" / "a.image.npy", store.path / "store.json"
    expected = np.array(store["a"].image)
    if damage == "short array":
        array.write_bytes(array.read_bytes()[:-1])
    elif damage == "no array":
        array.unlink()
    elif damage == "no index":
        index.unlink()
    elif damage == "broken index":
        index.write_text("{", encoding="utf-8")
    else:
        index.write_text(json.dumps(json.loads(index.read_text(encoding="utf-8")) | {"format": -1}), encoding="utf-8")
    again, prepared = prepare(folder, tmp_path / "cache")
    assert prepared == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(again["a"].image, expected)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [again.path.name]


def test_a_failing_case_is_named_with_its_file_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    plan = make_plan(Dataset.open(folder))
    broken = np.zeros((1, *SIZE), dtype=np.float32)
    broken[0, 0, 0, 0] = np.nan
    (folder / "imagesVal" / "d_0000.nii.gz").unlink()
    write_image(folder / "imagesVal" / "d_0000.nrrd", Image(broken, Geometry(SIZE, (6.0, 1.0, 1.0))))
    with pytest.raises(DataError, match=r"d_0000\.nrrd \(case d\): expected finite values"):
        prepare(folder, tmp_path / "cache", plan)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_plan_of_other_data_is_refused(folder: Path, tmp_path: Path) -> None:
    plan = make_plan(Dataset.open(folder))
    with pytest.raises(DataError, match="expected the plan's classes"):
        prepare(folder, tmp_path / "cache", plan.model_copy(update={"classes": ("background", "kidney", "LV")}))
    with pytest.raises(DataError, match="expected the plan's channels"):
        prepare(folder, tmp_path / "cache", plan.model_copy(update={"channels": plan.channels * 2}))


def test_one_name_in_two_splits_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "imagesVal" / "a_0000.nii.gz").write_bytes((folder / "imagesVal" / "d_0000.nii.gz").read_bytes())
    with pytest.raises(DataError, match=r"\ba\b"):
        prepare(folder, tmp_path / "cache")


def test_an_unknown_case_lists_the_known_ones(folder: Path, tmp_path: Path) -> None:
    store, _ = prepare(folder, tmp_path / "cache")
    with pytest.raises(DataError, match="Known: a, b, c, d"):
        store["z"]


# several processes

SCRIPT = """
import os, sys, time
from medcl.data.dataset import Dataset
from medcl.data.plan import make_plan
from medcl.data.store import Store

def told(case, number, total):
    print(case, flush=True)
    time.sleep(float(sys.argv[3]))
    while len(sys.argv) > 4 and not os.path.exists(sys.argv[4]):
        time.sleep(0.02)

dataset = Dataset.open(sys.argv[1])
store = Store.prepare(dataset, make_plan(dataset), sys.argv[2], progress=told)
print(store.path.name, float(store["a"].image.sum()), flush=True)
"""


def start(folder: Path, cache: Path, pause: float, *signs: Path) -> subprocess.Popen[str]:
    """Prepare in another process, which rests after each case it begins; with a sign, until that file is there."""
    source = Path(sys.modules["medcl"].__path__[0]).parent
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(cache), str(pause), *map(str, signs)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(source)},
        encoding="utf-8",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_in_the_middle_nothing_half_written_is_used_or_left(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = start(folder, cache, pause=60)
    assert process.stdout is not None
    assert process.stdout.readline() == "a\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(cache.iterdir())) == 1  # what it had begun
    store, prepared = prepare(folder, cache)
    assert prepared == ["a", "b", "c", "d"]
    assert [path.name for path in cache.iterdir()] == [store.path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_at_random_moments_the_next_one_always_opens(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    rng = np.random.default_rng(5)
    for _ in range(2):
        process = start(folder, cache, pause=0.02)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.15)))
        process.kill()
        process.communicate()
    store, _ = prepare(folder, cache)
    for name in "abcd":
        assert np.isfinite(store[name].image).all()
    assert [path.name for path in cache.iterdir()] == [store.path.name]


def test_two_processes_at_once_agree(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    sign = tmp_path / "both have begun"
    processes = [start(folder, cache, 0, sign), start(folder, cache, 0, sign)]
    first = [process.stdout.readline() for process in processes if process.stdout is not None]
    sign.touch()
    answers = [[line.strip(), *process.communicate(timeout=600)[0].splitlines()] for line, process in
               zip(first, processes, strict=True)]  # fmt: skip
    assert [process.returncode for process in processes] == [0, 0]
    assert [answer[:-1] for answer in answers] == [["a", "b", "c", "d"]] * 2  # both did work
    assert answers[0][-1] == answers[1][-1]
    assert len(list(cache.iterdir())) == 1


def test_many_finish_at_the_same_moment_and_one_is_kept(folder: Path, tmp_path: Path) -> None:
    store, _ = prepare(folder, tmp_path / "cache")
    whole = {path.relative_to(store.path): path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
    target = tmp_path / "race" / "key"
    target.mkdir(parents=True)
    (target / "store.json").write_text("{}", encoding="utf-8")  # and a damaged one is in the way
    barrier = threading.Barrier(6)
    found: list[object] = []

    def finish(number: int) -> None:
        mine = target.parent / f".tmp-{number}"
        for name, content in whole.items():
            (mine / name).parent.mkdir(parents=True, exist_ok=True)
            (mine / name).write_bytes(content)
        barrier.wait()
        found.append(_publish(mine, target))

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(content == found[0] for content in found)
    assert {path.relative_to(target) for path in target.rglob("*") if path.is_file()} == set(whole)


def test_leftovers_go_and_work_in_progress_stays(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {
        "dead": f".tmp-{_machine()}-{gone.pid}-0123abcd-set",
        "alive": f".tmp-{_machine()}-{os.getppid()}-0123abcd-set",
        "elsewhere": f".tmp-otherhost0-{gone.pid}-0123abcd-set",
        "old": f".tmp-otherhost0-{gone.pid}-4567abcd-set",
        "foreign": ".tmp-of-somebody-else",
    }
    for name in names.values():
        (cache / name).mkdir(parents=True)
    long_ago = time.time() - STALE_SECONDS - 60
    os.utime(cache / names["old"], (long_ago, long_ago))
    store, _ = prepare(folder, cache)
    left = {path.name for path in cache.iterdir()}
    assert left == {store.path.name, names["alive"], names["elsewhere"], names["foreign"]}


# real data


@pytest.mark.parametrize(
    ("name", "ndim", "spacing", "kind"),
    [("mscmr", 2, 1.367, "zscore"), ("hippocampus", 3, 1.0, "zscore"), ("nuclei", 2, 1.25, "unit")],
)
def test_real_sets_get_the_plan_an_expert_would_make(
    shared_data: Path, tmp_path: Path, name: str, ndim: int, spacing: float, kind: str
) -> None:
    dataset = Dataset.open(shared_data / name)
    plan = make_plan(dataset)
    assert plan.ndim == ndim
    assert plan.spacing_mm[1:] == pytest.approx((spacing, spacing), abs=0.01)
    assert {channel.normalisation for channel in plan.channels} == {kind}
    if name == "mscmr":
        store = Store.prepare(dataset, plan, tmp_path, splits=("Val",))
        assert len(store.cases("Val")) == 5
        assert all(store[case].label is not None for case in store.cases("Val"))


def test_a_new_stroke_costs_one_map(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Store.prepare(Dataset.open(folder), make_plan(Dataset.open(folder)), tmp_path / "cache")
    dataset = Dataset.open(folder)
    drawn = next(case for case in dataset.cases("Tr") if case.scribble is not None)
    strokes = dataset.read_scribble(drawn)
    strokes[0, 0, 0] = 1
    plan = make_plan(dataset)
    assert drawn.scribble is not None
    file = np.where(strokes == UNLABELLED, dataset.labels.strokes.ignore, strokes).astype(np.uint8)
    write_map(drawn.scribble, file, dataset.read_image(drawn).geometry)
    monkeypatch.setattr("medcl.data.store.prepare_image", lambda *_: pytest.fail("no image changed"))
    second = Store.prepare(Dataset.open(folder), plan, tmp_path / "cache")
    assert second.path != first.path
    for case_id in first.cases("Tr"):
        assert np.array_equal(first[case_id].image, second[case_id].image)
        assert (first.path / f"Tr/{case_id}.image.npy").samefile(second.path / f"Tr/{case_id}.image.npy")
    scribble = second[drawn.id].scribble
    assert scribble is not None
    assert scribble.ravel()[0] == 1
    assert np.array_equal(scribble, prepare_map(strokes, first[drawn.id].grid, plan))
