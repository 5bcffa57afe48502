"""Settings of trainings that the page starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medcl.annotate.jobs.recipe import check, has_file, settings_for
from medcl.annotate.schemas import NewJob
from medcl.errors import SettingsError
from medcl.training.configure import configure


def settings(start: str | None = None, **asked: Any) -> dict[str, Any]:
    return settings_for(NewJob(**asked), start=None if start is None else Path(start))


@pytest.mark.parametrize("start", [None, "model"])
@pytest.mark.parametrize("method", [None, "medcl", "partial-ce"])
def test_training_takes_them(start: str | None, method: str | None) -> None:
    config = configure(settings(start, method=method))
    assert config.method_name == (method or "medcl")
    assert config.train.presence == "never"
    assert has_file(settings(start, method=method)) == (start is not None)


def test_from_a_model_on_the_rate_is_lower() -> None:
    fresh, warm = configure(settings()), configure(settings("model"))
    assert warm.train.optim.learning_rate < fresh.train.optim.learning_rate
    assert warm.train.presence == fresh.train.presence


def test_what_the_caller_says_wins_with_dots_or_without() -> None:
    asked = {"optim.ema": 0.5, "optim": {"weight_decay": 0.0}, "batch_size": 2, "method": {"mixing": 0.5}}
    config = configure(settings("model", settings=asked))
    assert (config.train.optim.ema, config.train.optim.weight_decay, config.train.batch_size) == (0.5, 0.0, 2)
    assert config.train.optim.learning_rate == 2e-3
    assert config.method_name == "medcl"
    assert config.method.mixing == 0.5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"optim.emma": 0.5}, "did you mean 'ema'|emma"),
        ({"batch_size": 0}, "batch_size"),
        ({"holdout": 0.2}, "unknown setting of a training here 'holdout'"),
        ({"mlflow": "http://elsewhere"}, "unknown setting of a training here 'mlflow'"),
        ({"backbone.weights": "/etc/passwd"}, "backbone.weights: expected none"),
        ({"optim": 3, "optim.ema": 0.5}, "optim: expected a single value as elsewhere, got a group"),
    ],
)
def test_bad_settings_are_told_at_once(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check(NewJob(settings=asked))
