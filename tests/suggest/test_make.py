"""From a data set and a model to a list: who is asked about, resuming, errors before any work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medcl.data.dataset import Dataset
from medcl.data.io import read_map, write_map
from medcl.errors import DataError, ModelError, SettingsError
from medcl.inference.model import Model
from medcl.inference.scaling import Scaling
from medcl.queries import build_strategy, needs, queries
from medcl.queries.listing import read_list
from medcl.queries.places import places_of
from medcl.suggest import SuggestSettings, suggest
from medcl.suggest.material import gather

Make = Callable[..., Path]


def test_cases_that_are_annotated_are_left_out_and_drawn_slices_are_known(dataset: Path) -> None:
    material = gather(Dataset.open(dataset))
    assert [one.case.id for one in material.cases] == ["begun", "fresh"]
    assert material.left_out == {"has a dense label": 1, "has strokes in every slice": 1}
    begun, fresh = material.cases
    assert begun.facts.drawn == {1: frozenset({0, 1})}
    assert (begun.facts.slices, begun.facts.gap_mm, begun.facts.plane) == (4, 8.0, "axial")
    assert material.strokes == (2, 5), "slices with strokes, those of full cases too; unlabelled is no class"
    assert fresh.in_file(3) == ("z", 3)
    everyone = gather(Dataset.open(dataset), labels=False, redraw=True)
    assert [one.case.id for one in everyone.cases] == ["begun", "dense", "fresh", "full"]


def test_the_list_its_table_its_page_and_pictures(dataset: Path, model: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told: list[tuple[str, float, int]] = []
    found = suggest(
        model(), dataset, out, SuggestSettings(budget_s=30.0), tell=lambda s, n, of, c: told.append((s, n, of))
    )
    content = read_list(out)
    assert content == found.content
    assert content.strategy == "clasp-pe"
    places = content.places
    assert 2 <= len(places) <= 7
    assert {(p.case, p.slice) for p in places} <= {(c, z) for c in ("begun", "fresh") for z in range(4)} - {
        ("begun", 1)
    }
    assert [p.rank for p in places] == list(range(1, len(places) + 1))
    assert places[-1].total_s == pytest.approx(sum(p.cost_s for p in places), abs=0.5)
    assert places[-1].total_s <= 30
    assert all((out / str(p.picture)).read_bytes().startswith(b"\x89PNG") for p in places)
    assert "Where to draw next" in (out / "suggestions.html").read_text(encoding="utf-8")
    assert {stage for stage, _, _ in told} == {"read strokes", "predict", "draw pictures", "done"}
    assert all(0 <= done <= total for _, done, total in told)


def test_places_are_those_of_the_prediction(dataset: Path, model: Make, tmp_path: Path) -> None:
    path = model()
    found = suggest(path, dataset, tmp_path / "out", SuggestSettings(strategy="entropy", pictures=0))
    first = found.content.places[0]
    opened = Dataset.open(dataset)
    doubts = {}
    for one in gather(opened).cases:
        shares = Model.load(path).predict(opened.read_image(one.case), probabilities=True).probabilities
        assert shares is not None
        for place in places_of(one.case.id, one.view.to_view(shares), (8.0, 1.0, 1.5), 0):
            if place.slice not in one.facts.drawn:
                doubts[place.case, place.slice] = place.entropy * place.area_mm2
    assert (first.case, first.slice) == max(doubts, key=lambda key: doubts[key])
    assert first.score == pytest.approx(max(doubts.values()), rel=1e-3)


def test_what_was_predicted_is_kept_and_another_strategy_needs_no_network(
    dataset: Path, model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcl.suggest import measuring

    calls: list[str] = []
    plain = measuring._predict
    monkeypatch.setattr(measuring, "_predict", lambda *a: calls.append(a[2]) or plain(*a))
    path, out = model(), tmp_path / "out"
    one = suggest(path, dataset, out, SuggestSettings(strategy="entropy", pictures=0))
    assert sorted(calls) == ["begun", "fresh"]
    calls.clear()
    again = suggest(path, dataset, out, SuggestSettings(strategy="entropy", pictures=0))
    suggest(path, dataset, out, SuggestSettings(strategy="power-entropy", pictures=0))
    assert calls == []
    assert again.content.places == one.content.places
    (out / ".cases" / "begun.npz").write_bytes(b"cut off")  # as a full disk leaves it
    suggest(path, dataset, out, SuggestSettings(strategy="entropy", pictures=0))
    assert calls == ["begun"]
    calls.clear()
    suggest(model(seed=1), dataset, out, SuggestSettings(strategy="entropy", pictures=0))
    assert sorted(calls) == ["begun", "fresh"], "another model looks anew"


def test_disagreement_needs_several_models(dataset: Path, model: Make, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="strategy 'bald': expected several probability maps"):
        suggest(model(), dataset, tmp_path / "out", SuggestSettings(strategy="bald"))
    found = suggest(
        model(), dataset, tmp_path / "out", SuggestSettings(strategy="bald", pictures=0), others=[model(seed=1)]
    )
    assert found.content.places
    assert "disputed" in found.content.places[0].reason


def test_boxes(dataset: Path, model: Make, tmp_path: Path) -> None:
    settings = SuggestSettings(strategy="entropy", box_mm=8.0, places=3, pictures=1)
    for _ in range(2):  # the second from what was kept
        found = suggest(model(), dataset, tmp_path / "out", settings)
        assert len(found.content.places) == 3
        for place in found.content.places:
            assert place.box is not None
            assert all(low <= at < high for at, (low, high) in zip(place.place, place.box, strict=True))


def test_a_cold_start_needs_no_model(dataset: Path, tmp_path: Path) -> None:
    found = suggest(None, dataset, tmp_path / "out", SuggestSettings(places=3, pictures=0))
    assert found.content.strategy == "cold-start"
    assert found.content.model is None
    assert {p.case for p in found.content.places[:2]} == {"begun", "fresh"}
    with pytest.raises(SettingsError, match=r"strategy 'entropy': expected a model .* cold-start, core-set, coverage"):
        suggest(None, dataset, tmp_path / "out", SuggestSettings(strategy="entropy"))


def test_errors_come_in_one_sentence_and_before_any_work(dataset: Path, model: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match="did you mean 'entropy'"):
        suggest(None, dataset, out, SuggestSettings(strategy="entropie"))
    with pytest.raises(SettingsError, match="unknown setting 'per_cas'; did you mean 'per_case'"):
        suggest(model(), dataset, out, SuggestSettings(strategy="entropy", options={"per_cas": 1}))
    with pytest.raises(ModelError, match=r"classes \(background, organ\), got background, liver"):
        suggest(model(classes=("background", "liver")), dataset, out)
    with pytest.raises(ModelError, match=r"model 2: expected the channels of the first model \(MR\), got CT"):
        suggest(model(), dataset, out, others=[model(seed=1, channel="CT")])
    for name in ("begun", "fresh"):
        (dataset / "imagesTr" / f"{name}_0000.nii.gz").unlink()
    (dataset / "scribblesTr" / "begun.nii.gz").unlink()
    with pytest.raises(DataError, match=r"all training cases are annotated .* add --redraw .* add --no-labels"):
        suggest(None, dataset, out)
    assert not out.exists()


def test_one_bad_image_does_not_cost_the_others(dataset: Path, model: Make, tmp_path: Path) -> None:
    (dataset / "imagesTr" / "fresh_0000.nii.gz").write_bytes(
        (dataset / "imagesTr" / "fresh_0000.nii.gz").read_bytes()[:400]
    )
    found = suggest(model(), dataset, tmp_path / "out", SuggestSettings(strategy="entropy", pictures=0))
    assert list(found.failed) == ["fresh"]
    assert {p.case for p in found.content.places} == {"begun"}
    assert "1 case could not be read" in " ".join(found.content.notes)


def test_a_budget_too_small_is_told(dataset: Path, model: Make, tmp_path: Path) -> None:
    found = suggest(model(), dataset, tmp_path / "out", SuggestSettings(budget_s=1.0, pictures=0))
    assert found.content.places == ()
    assert "pays for no place" in found.content.notes[-1]


def test_settings_of_the_list_are_kept(dataset: Path, model: Make, tmp_path: Path) -> None:
    suggest(model(), dataset, tmp_path / "out", SuggestSettings(progress=0.5, seed=3, pictures=0))
    told = json.loads((tmp_path / "out" / "suggestions.json").read_text(encoding="utf-8"))
    assert (told["settings"]["stage"], told["settings"]["seed"]) == (0.5, 3)
    assert len(told["model"]) == 64
    kept = np.load(tmp_path / "out" / ".cases" / "begun.npz", allow_pickle=False)
    assert kept["mask"].shape == (4, 16, 20)


@pytest.mark.parametrize("name", list(queries))
def test_every_strategy_fills_its_list_with_slices_that_nobody_drew_in(
    dataset: Path, model: Make, tmp_path: Path, name: str
) -> None:
    others = [model(seed=1)] if needs(build_strategy(name), "samples") else []
    settings = SuggestSettings(strategy=name, places=6, pictures=0)
    places = suggest(model(), dataset, tmp_path / "out", settings, others=others).content.places
    assert len({(p.case, p.slice) for p in places}) == 6, "of the seven that have no strokes"
    assert ("begun", 1) not in {(p.case, p.slice) for p in places}


def test_slices_with_strokes_come_after_all_others_where_they_are_asked_for(
    dataset: Path, model: Make, tmp_path: Path
) -> None:
    for number, name in enumerate(("random", "k-means", "entropy-rarity")):
        settings = SuggestSettings(strategy=name, redraw=True, pictures=0)
        found = suggest(model(), dataset, tmp_path / str(number), settings).content.places
        keys = [(p.case, p.slice) for p in found]
        drawn = {("begun", 1), *(("full", z) for z in range(4))}
        assert len(keys) == 12
        assert not drawn & set(keys[:7]), name
    own = SuggestSettings(strategy="entropy-rarity", options={"drawn": 0.5}, places=2, pictures=0)
    assert len(suggest(model(), dataset, tmp_path / "own", own).content.places) == 2, "its own setting of that name"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strategy": "k-means", "options": {"drawn": "equal"}}, "expected drawn=never without --redraw"),
        ({"strategy": "k-means", "options": {"drawn": "never"}, "redraw": True}, "expected drawn=last or equal with"),
        ({"strategy": "random", "box_mm": 8.0}, "strategy 'random': expected one that ranks boxes .* take bald, clasp"),
        ({"box_mm": 8.0}, "strategy 'cold-start': expected one that ranks boxes"),
        ({"source": {"name": "tta"}}, "expected a model beside further ones"),
    ],
)
def test_what_would_do_nothing_is_refused(dataset: Path, tmp_path: Path, settings: dict, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        suggest(None, dataset, tmp_path / "out", SuggestSettings.parse(settings))
    assert not (tmp_path / "out").exists()


def test_only_pictures_of_the_last_list_are_removed(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "pictures").mkdir(parents=True)
    (out / "pictures" / "holiday.png").write_bytes(b"mine")
    suggest(None, dataset, out, SuggestSettings(strategy="coverage", places=3))
    assert len(list((out / "pictures").iterdir())) == 4
    found = suggest(None, dataset, out, SuggestSettings(strategy="coverage", places=1))
    names = {path.name for path in (out / "pictures").iterdir()}
    assert names == {"holiday.png", Path(str(found.content.places[0].picture)).name}


def test_calibration_counts_and_is_not_mixed_with_what_was_predicted_before(
    dataset: Path, model: Make, tmp_path: Path
) -> None:
    path, out = model(), tmp_path / "out"
    settings = SuggestSettings(strategy="entropy", pictures=0)

    def doubt() -> float:
        suggest(path, dataset, out, settings)
        with np.load(out / ".cases" / "fresh.npz") as kept:
            return float(kept["uncertainty"].mean()) / 255

    plain = doubt()
    sha = Model.load(path).info.weights_sha256
    Scaling.of(0.02, 2, weights_sha256=sha, fitted_on="x", far=0.02).save(path)
    opened = Dataset.open(dataset)
    (fresh,) = (case for case in opened.cases("Tr") if case.id == "fresh")
    expected = Model.load(path).predict(opened.read_image(fresh), uncertainty=True).uncertainty
    assert expected is not None
    assert doubt() == pytest.approx(float(expected.mean()), abs=0.005)
    assert plain > 2 * float(expected.mean()), "sharper probabilities are surer"


def test_features_are_added_to_what_was_predicted(
    dataset: Path, model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcl.suggest import measuring

    path, out = model(), tmp_path / "out"
    suggest(path, dataset, out, SuggestSettings(strategy="entropy", pictures=0))
    monkeypatch.setattr(measuring, "_predict", lambda *a: pytest.fail("predicted again"))
    for name in ("k-means", "entropy", "k-means"):
        assert suggest(path, dataset, out, SuggestSettings(strategy=name, pictures=0)).content.places
    monkeypatch.setattr(measuring, "image_features", lambda *a: pytest.fail("described again"))
    suggest(path, dataset, out, SuggestSettings(strategy="core-set", pictures=0))


@pytest.mark.parametrize("size", [0, 4], ids=["no header", "no voxels"])
def test_one_bad_image_does_not_cost_the_others_of_a_cold_start(dataset: Path, tmp_path: Path, size: int) -> None:
    scan = dataset / "imagesTr" / "fresh_0000.nii.gz"
    scan.write_bytes(scan.read_bytes()[: 100 * size] or b"junk")
    blind = suggest(None, dataset, tmp_path / "blind", SuggestSettings(strategy="random", pictures=0, places=3))
    assert ([p.case for p in blind.content.places], list(blind.failed)) == (["begun"] * 3, ["fresh"])
    found = suggest(None, dataset, tmp_path / "out", SuggestSettings(strategy="coverage"))
    assert {p.case for p in found.content.places} == {"begun"}
    assert list(found.failed) == ["fresh"]
    assert "fresh" in " ".join(found.content.notes)
    assert [p.case for p in found.content.places if p.picture] == ["begun"] * 3
    (dataset / "imagesTr" / "begun_0000.nii.gz").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"can be read, got none; the first: .*begun|no case could be read"):
        suggest(None, dataset, tmp_path / "out", SuggestSettings(strategy="cold-start"))


def test_a_dense_label_makes_strokes_superfluous(dataset: Path) -> None:
    strokes, grid = read_map(dataset / "scribblesTr" / "begun.nii.gz")
    write_map(dataset / "scribblesTr" / "dense.nii.gz", strokes.astype(np.uint8), grid)
    material = gather(Dataset.open(dataset))
    assert [one.case.id for one in material.cases] == ["begun", "fresh"]
    assert material.left_out["has a dense label"] == 1
    assert material.strokes == (3, 6), "its strokes still say which class was drawn seldom"
    assert "dense" in {one.case.id for one in gather(Dataset.open(dataset), labels=False).cases}


def test_pictures_point_only_where_the_model_is_least_sure(
    dataset: Path, model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcl.suggest import make, measuring

    plain = measuring.places_of
    # as if the organ were nowhere but in slice 2: the middle of other slices says nothing about it
    monkeypatch.setattr(
        measuring, "places_of", lambda *a, **k: [p for p in plain(*a, **k) if p.slice == 2 and p.class_index == 1]
    )
    pools = []
    made = make._pool
    monkeypatch.setattr(make, "_pool", lambda *a: pools.append(made(*a)) or pools[-1])
    for name in ("coverage", "random", "cold-start", "core-set"):
        out = tmp_path / name
        found = suggest(model(), dataset, out, SuggestSettings(strategy=name, places=7))
        peaks = {(p.case, p.slice, p.class_index): p.peak for p in pools[-1].places}
        pointing = [p for p in found.content.places if (p.case, p.slice, p.class_index) in peaks]
        assert all(p.place == peaks[p.case, p.slice, p.class_index] for p in pointing), name
        page = (out / "suggestions.html").read_text(encoding="utf-8")
        assert ("A circle: where the model is least sure" in page) == bool(pointing), name
    cold = suggest(None, dataset, tmp_path / "none", SuggestSettings(places=2))
    assert "A circle" not in (tmp_path / "none" / "suggestions.html").read_text(encoding="utf-8")
    assert cold.content.places[0].picture


def test_cases_that_take_no_more_strokes_still_count(dataset: Path, model: Make, tmp_path: Path) -> None:
    (dataset / "scribblesTr" / "begun.nii.gz").rename(dataset / "scribblesTr" / "dense.nii.gz")
    found = suggest(model(), dataset, tmp_path / "out", SuggestSettings(strategy="core-set", pictures=0))
    assert found.content.settings["stage"] == round(5 / 13, 4), "4 of full, 1 of dense, 8 that may be asked for"
    assert {p.case for p in found.content.places} == {"begun", "fresh"}
    assert all("unlike all drawn" in p.reason for p in found.content.places), "never 'a typical slice to begin with'"
    scan = dataset / "imagesTr" / "full_0000.nii.gz"
    scan.write_bytes(scan.read_bytes()[:400])
    again = suggest(model(), dataset, tmp_path / "out", SuggestSettings(strategy="core-set", pictures=0))
    assert list(again.failed) == ["full"]
    assert len(again.content.places) == 8


def test_the_price_of_the_list_is_the_one_that_doubt_per_second_ranks_by(
    dataset: Path, model: Make, tmp_path: Path
) -> None:
    settings = SuggestSettings.parse(
        {"strategy": "doubt-per-second", "pictures": 0, "budget_s": 300.0, "cost": {"per_slice_s": 100.0}}
    )
    places = suggest(model(), dataset, tmp_path / "out", settings).content.places
    assert len(places) == 2, "the budget is cut by the cost model of the call"
    assert all(f"about {p.cost_s:.0f} s" in p.reason for p in places)


def test_pictures_of_an_interrupted_call_go_and_those_of_others_stay(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcl.suggest import pictures

    out = tmp_path / "out"
    plain = pictures._picture

    def interrupted(*a: object) -> bytes:
        if a[-3] == 3:
            raise KeyboardInterrupt
        return plain(*a)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "_picture", interrupted)
        with pytest.raises(KeyboardInterrupt):
            suggest(None, dataset, out, SuggestSettings(strategy="coverage", places=4))
    left = {path.name for path in (out / "pictures").iterdir()}
    assert left
    (out / "pictures" / "009_mine_axial3.png").write_bytes(b"mine, though it is named like ours")
    (out / ".pictures.json").write_text(
        json.dumps(
            [*json.loads((out / ".pictures.json").read_text(encoding="utf-8")), "holiday.png", "../suggestions.json", 7]
        ),
        encoding="utf-8",
    )
    (out / "pictures" / "holiday.png").write_bytes(b"mine")
    found = suggest(None, dataset, out, SuggestSettings(strategy="random", places=1, seed=1))
    ours = {Path(str(place.picture)).name for place in found.content.places}
    assert {path.name for path in (out / "pictures").iterdir()} == {"holiday.png", "009_mine_axial3.png", *ours}


def test_results_that_cannot_be_written_are_no_fault_of_a_case(
    dataset: Path, model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcl.suggest import folder, make

    with monkeypatch.context() as patch:
        patch.setattr(make, "gather", lambda *a, **k: pytest.fail("worked before"))
        for place in (Path("/proc/nope"), tmp_path / "taken" / "out"):
            (tmp_path / "taken").write_bytes(b"a file")
            with pytest.raises(DataError, match="expected a folder"):
                suggest(model(), dataset, place)

    def full(path: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "atomic_write", full)
    with pytest.raises(DataError, match=r"begun.npz: cannot be written \(No space left on device\)"):
        suggest(model(), dataset, tmp_path / "out", SuggestSettings(strategy="entropy", pictures=0))
