from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medcl import Model, adapt
from medcl.errors import DataError, ModelError, SettingsError
from medcl.training.adaptation.sizes import SIZES_FILE, read_sizes

QUICK: dict[str, Any] = {"precision": "fp32", "threads": 1, "rounds": 1, "batch_size": 4}
SQUARE = {"square": 16 * 16 * 4 * 2 / 1000}  # ml


def test_new_statistics_repair_a_brighter_scanner(saved: Callable[..., Path], images: Callable[..., Path]) -> None:
    """All is above the old threshold; the mean of the new images lies between square and background."""
    model, folder = saved(), images(offset=5.0)
    assert float((Model.load(model, engine="torch").predict(folder / "c0_0000.nii.gz").mask == 1).mean()) == 1.0
    result = adapt(model, folder, model.parent / "new", settings={**QUICK, "parameters": "none"}, volumes_ml=SQUARE)
    assert result.model is not None
    assert result.reasons == ()
    assert result.after.score > result.before.score
    adapted = Model.load(result.model, engine="torch")
    assert int((adapted.predict(folder / "c0_0000.nii.gz").mask == 1).sum()) == 16 * 16 * 4
    facts = adapted.info.history["adapted"]["1"]
    assert facts["from_weights"] == Model.load(model, engine="torch").info.weights_sha256
    assert adapted.info.metrics == {"before_adaptation": {"dice": 0.9}}
    assert "adapted.1.learned_from" in (result.model / "card.md").read_text(encoding="utf-8")
    assert (result.model / SIZES_FILE).is_file()


def test_where_nothing_is_gained_the_old_model_stays(saved: Callable[..., Path], images: Callable[..., Path]) -> None:
    model = saved()
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    same = {**QUICK, "parameters": "none", "statistics": 0.0}
    result = adapt(model, images(), model.parent / "new", settings=same, volumes_ml=SQUARE)
    assert result.model is None
    assert "nothing is gained" in result.reasons[-1]
    assert not (model.parent / "new").exists()
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_a_collapse_is_refused(saved: Callable[..., Path], images: Callable[..., Path]) -> None:
    """Without a prior and with wild steps on every weight, certainty is bought by losing the structure."""
    model = saved()
    wild = {**QUICK, "parameters": "all", "learning_rate": 5.0, "ratio": 0.0, "statistics": 0.0}
    result = adapt(model, images(noise=0.6), model.parent / "new", budget="8steps", settings=wild, volumes_ml=SQUARE)
    assert result.model is None
    assert result.steps >= 0
    assert any(row["reasons"] for row in result.rounds) or "nothing is gained" in result.reasons[-1]


@pytest.mark.parametrize(
    ("backbone", "settings", "changes"),
    [
        ("unet", {"base": 4, "levels": 2}, {}),
        ("unet", {"base": 8, "levels": 2, "norm": "group"}, {}),
        ("unet", {"base": 4, "levels": 2}, {"ndim": 3}),
        ("unet", {"base": 4, "levels": 2}, {"context": 1}),
    ],
    ids=["2d", "group norm", "3d", "2.5d"],
)
def test_every_kind_of_model_adapts_by_its_normalisation_alone(
    saved: Callable[..., Path],
    images: Callable[..., Path],
    backbone: str,
    settings: dict[str, Any],
    changes: dict[str, Any],
) -> None:
    model, folder = saved(backbone, settings, **changes), images(count=2)
    options = {"budget": "2steps", "settings": QUICK, "volumes_ml": SQUARE, "force": True}
    first, second = (adapt(model, folder, model.parent / name, **options) for name in ("one", "two"))
    assert first.model is not None
    assert second.model is not None
    old, new, again = (load_file(path / "weights.safetensors") for path in (model, first.model, second.model))
    changed = {name for name, value in old.items() if not torch.equal(value, new[name])}
    assert changed
    norms = {n for n, m in Model.load(model, engine="torch").network.named_modules() if "Norm" in type(m).__name__}
    assert {name.rpartition(".")[0] for name in changed} <= norms
    assert all(torch.equal(value, again[name]) for name, value in new.items())
    assert Model.load(first.model, engine="torch").predict(folder / "c0_0000.nii.gz").mask.shape == (4, 32, 32)


def test_class_sizes_are_measured_where_the_model_holds_none(
    saved: Callable[..., Path], images: Callable[..., Path]
) -> None:
    model = saved()
    with pytest.raises(ModelError, match=r"sizes_from \(--sizes-from.*--volume"):
        adapt(model, images(name="a", offset=5.0), model.parent / "new")
    told: list[str] = []
    result = adapt(
        model,
        images(name="a", offset=5.0),
        model.parent / "new",
        sizes_from=images(name="b", count=2),
        settings={**QUICK, "parameters": "none"},
        show=lambda moment: told.append(moment.message),
    )
    assert result.model is not None
    loaded = Model.load(result.model, engine="torch")
    sizes = read_sizes(result.model, loaded.plan)
    assert sizes is not None
    assert sizes.mean_ml["square"] == pytest.approx(SQUARE["square"], rel=0.02)
    assert any("held out" in line for line in told)


def test_bad_input_is_said_before_work(saved: Callable[..., Path], images: Callable[..., Path]) -> None:
    model, folder = saved(), images(count=1)
    out = model.parent / "new"
    with pytest.raises(SettingsError, match="did you mean 'square'"):
        adapt(model, folder, out, volumes_ml={"sqare": 1.0})
    with pytest.raises(SettingsError, match="learning_rate"):
        adapt(model, folder, out, settings={"learningrate": 1})
    with pytest.raises(ModelError, match="choose another folder"):
        adapt(model, folder, model, volumes_ml=SQUARE)
    with pytest.raises(DataError, match="no such file"):
        adapt(model, folder / "nothing", out, volumes_ml=SQUARE)
    (folder / "broken.nii.gz").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken.nii.gz"):
        adapt(model, folder, out, volumes_ml=SQUARE)
    (model / SIZES_FILE).write_text(
        json.dumps({"mean_ml": {"x": 1}, "sd_ml": {}, "cases": 1, "source": ""}), encoding="utf-8"
    )
    with pytest.raises(ModelError, match="square"):
        adapt(model, images(count=1, name="good"), out)


def test_nothing_but_another_model_is_replaced(saved: Callable[..., Path], images: Callable[..., Path]) -> None:
    model, folder = saved(), images()
    run = model.parent / "run"
    run.mkdir()
    model = model.rename(run / "model")
    (run / "run.json").write_text("{}", encoding="utf-8")
    for out in (run, run / "model", run / "model" / "new", run.parent):
        with pytest.raises(ModelError, match="choose"):
            adapt(run, folder, out, volumes_ml=SQUARE, force=True)
    with pytest.raises(DataError, match=r"without model\.json"):
        adapt(run, folder, folder, volumes_ml=SQUARE, force=True)
    assert sorted(path.name for path in run.iterdir()) == ["model", "run.json"]
    quick = {**QUICK, "parameters": "none"}
    new = run / "new"
    for _ in range(2):  # an older model is replaced
        assert adapt(run, folder, new, settings=quick, volumes_ml=SQUARE, force=True).model == new


def test_statistics_of_a_model_that_has_none_are_told(saved: Callable[..., Path], images: Callable[..., Path]) -> None:
    model, told = saved("unet", {"base": 4, "levels": 2, "norm": "group"}), list[str]()
    result = adapt(
        model,
        images(),
        model.parent / "new",
        settings={**QUICK, "parameters": "none", "statistics": 1.0},
        volumes_ml=SQUARE,
        force=True,
        show=lambda moment: told.append(moment.message),
    )
    assert any("no batch normalisation" in line for line in told)
    assert result.model is not None
    assert Model.load(result.model, engine="torch").info.history["adapted"]["1"]["share_of_new_statistics"] == 0


def test_ctrl_c_keeps_the_best_so_far(
    saved: Callable[..., Path], images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcl.training.adaptation import run

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run._Adaptation, "_step", interrupted)
    model = saved()
    result = adapt(model, images(offset=5.0), model.parent / "new", settings=QUICK, volumes_ml=SQUARE)
    assert not result.finished
    assert result.model is not None
    assert result.steps == 0


@pytest.mark.parametrize(("looks", "kept"), [(2, True), (1, False)])
def test_ctrl_c_while_statistics_are_mixed(
    saved: Callable[..., Path],
    images: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    looks: int,
    kept: bool,
) -> None:
    from medcl.training.adaptation import run

    look, seen = run._Adaptation._look, []

    def interrupted(work: run._Adaptation, held: list[Any]) -> Any:
        seen.append(len(held))
        if len(seen) > looks:  # the first is of the model as it was
            raise KeyboardInterrupt
        return look(work, held)

    monkeypatch.setattr(run._Adaptation, "_look", interrupted)
    model, folder = saved(), images(offset=5.0)
    if kept:
        result = adapt(model, folder, model.parent / "new", settings=QUICK, volumes_ml=SQUARE, guard={"gain": 0})
        assert (result.finished, result.steps) == (False, 0)
        assert result.model is not None
    else:
        with pytest.raises(KeyboardInterrupt):
            adapt(model, folder, model.parent / "new", settings=QUICK, volumes_ml=SQUARE)


def test_expected_ratio_by_hand(plan: Callable[..., Any]) -> None:
    from medcl.training.adaptation.sizes import ClassSizes

    sizes = ClassSizes(mean_ml={"square": 2.0}, sd_ml={"square": 0.0}, cases=1, source="")
    assert sizes.ratio(plan(), 8.0).tolist() == pytest.approx([0.75, 0.25])
    assert sizes.ratio(plan(), 1.0).tolist() == pytest.approx([0.05, 0.95])  # larger than the image: cut


def test_statistics_are_mixed_by_share() -> None:
    from torch import nn

    from medcl.training.adaptation.layers import BatchStatistics

    layer = nn.BatchNorm2d(1)  # running mean 0, variance 1
    image = torch.full((1, 1, 2, 2), 4.0)
    image[..., 0] = 8.0  # mean 6, unbiased variance 16/3
    statistics = BatchStatistics(layer, lambda batch: layer(batch), iter([image]))
    assert statistics
    assert layer.running_mean is not None
    assert layer.running_var is not None
    for share, mean, variance in ((0.0, 0.0, 1.0), (0.5, 3.0, 0.5 + 8 / 3), (1.0, 6.0, 16 / 3)):
        statistics.mix(share)
        assert float(layer.running_mean) == pytest.approx(mean)
        assert float(layer.running_var) == pytest.approx(variance)
    assert not BatchStatistics(nn.GroupNorm(1, 1), lambda batch: batch, iter([image]))
