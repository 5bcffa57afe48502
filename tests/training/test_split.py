"""Which cases keep their annotation and which are held back: small sets whose answer one can see."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import medcl
from medcl.errors import RunError, SettingsError
from medcl.settings import TrainSettings
from medcl.training.split import Split, choose_annotated, choose_split

NAMES = [f"case{i}" for i in range(10)]


@dataclass
class FakeStore:
    """Ten cases with strokes; `labels` names those that have dense labels too."""

    labels: list[str] = field(default_factory=list)

    def cases(self, split: str) -> list[str]:
        return [*NAMES, "plain"]

    def __getitem__(self, name: str) -> Any:
        stroke = None if name == "plain" else 1
        return SimpleNamespace(scribble=stroke, label=1 if name in self.labels else None)


def split_of(store: FakeStore, **settings: Any) -> Split:
    dataset: Any = SimpleNamespace(folder=Path("set"), cases=lambda part: [])
    return choose_split(dataset, store, TrainSettings.parse(settings))  # type: ignore[arg-type]


@given(seed=st.integers(0, 99), few=st.integers(1, 10), many=st.integers(1, 10))
def test_a_smaller_choice_is_part_of_a_larger_one(seed: int, few: int, many: int) -> None:
    few, many = sorted((few, many))
    small, large = choose_annotated(NAMES, few, seed), choose_annotated(NAMES, many, seed)
    assert (len(small), len(large)) == (few, many)
    assert set(small) <= set(large) <= set(NAMES)
    assert small == [name for name in NAMES if name in small]


def test_shares_names_and_all() -> None:
    assert len(choose_annotated(NAMES, 0.5, 0)) == 5
    assert len(choose_annotated(NAMES, 0.01, 0)) == 1
    assert choose_annotated(NAMES, 1.0, 0) == choose_annotated(NAMES, None, 0) == NAMES
    assert choose_annotated(NAMES, ("case7", "case2"), 0) == ["case2", "case7"]
    assert len({tuple(choose_annotated(NAMES, 3, seed)) for seed in range(5)}) > 1


def test_a_wish_that_cannot_be_met_is_explained() -> None:
    with pytest.raises(RunError, match=r"cases: expected at most 10.* got 11"):
        choose_annotated(NAMES, 11, 0)
    with pytest.raises(RunError, match="unknown annotated training case 'case77'; did you mean 'case7'"):
        choose_annotated(NAMES, ("case77",), 0)
    for wrong in (0, 1.5, -0.1, []):
        with pytest.raises(SettingsError, match="cases"):
            TrainSettings.parse({"cases": wrong})


def test_all_cases_are_used_unless_told_otherwise() -> None:
    chosen = split_of(FakeStore(), holdout=0)
    assert chosen.annotated == NAMES
    assert chosen.training == [*NAMES, "plain"]
    assert split_of(FakeStore(), holdout=0, unannotated=False).training == NAMES


def test_cases_that_give_up_their_annotation_stay_as_images_or_leave() -> None:
    kept = split_of(FakeStore(), holdout=0, cases=["case1", "case3"])
    assert kept.annotated == ["case1", "case3"]
    assert kept.training == [*NAMES, "plain"]
    assert "annotation of 2 of 10 cases is used" in kept.reasons
    alone = split_of(FakeStore(), holdout=0, cases=["case1", "case3"], unannotated=False)
    assert alone.training == alone.annotated == ["case1", "case3"]


def test_only_unused_annotation_is_held_back_where_there_is_some() -> None:
    chosen = split_of(FakeStore(labels=NAMES), holdout=0.3, cases=4)
    assert len(chosen.annotated) == 4
    assert len(chosen.validation) == 3
    assert not set(chosen.validation) & {*chosen.annotated, *chosen.training}
    assert chosen.dense
    everyone = split_of(FakeStore(), holdout=0.3)
    assert len(everyone.annotated) == 7
    assert not everyone.dense


def test_a_run_learns_from_the_kept_cases_alone(hearts: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    tiny["method"] = {"name": "partial-ce"}
    result = medcl.train(hearts, tmp_path / "run", budget="1steps", settings={**tiny, "cases": 1})
    content = medcl.Model.load(result.model).info.history
    assert content["learnt_from"] == {"strokes": 1, "dense labels": 0, "images alone": 2}
