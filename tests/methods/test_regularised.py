"""Cross-entropy on strokes plus terms: their weight over the budget, and what each method adds to which pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from medcl.losses.partial import partial_cross_entropy
from medcl.methods import methods
from medcl.methods.regularised import Regularised, grown

TERMS = {
    "partial-ce-tv": {"total_variation"},
    "partial-ce-entropy": {"entropy"},
    "partial-ce-intensity-variance": {"intensity_variance"},
    "partial-ce-mumford-shah": {"mumford_shah"},
    "partial-ce-gated-crf": {"gated_crf"},
    "partial-ce-dice": {"dice"},
    "random-walker": {"pseudo_ce", "pseudo_dice"},
}
each = pytest.mark.parametrize("name", TERMS)


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 0.0), (0.19, 0.0), (0.2, 0.0), (0.3, 0.25), (0.6, 1.0), (1.0, 1.0)]
)
def test_terms_grow_in_a_straight_line(progress: float, expected: float) -> None:
    assert grown(progress, start=0.2, ramp=0.4) == pytest.approx(expected)


def test_without_a_ramp_terms_are_there_at_once() -> None:
    assert grown(0.0, start=0.0, ramp=0.0) == 1
    assert grown(0.49, start=0.5, ramp=0.0) == 0
    assert grown(0.5, start=0.5, ramp=0.0) == 1


@each
def test_names_and_weights_of_the_terms(name: str, make_trial: Callable, batch_for: Callable) -> None:
    assert issubclass(methods.get(name), Regularised)
    once = make_trial(name, weight=1.0, ce_weight=1.0, start=0.2, ramp=0.4)
    batch = batch_for(once, 2, (8, 9))
    full = once.step(batch)
    assert full.keys() == {"partial_ce", *TERMS[name]}
    quarter = make_trial(name, weight=2.0, ce_weight=3.0, start=0.2, ramp=0.4).step(batch, progress=0.3)
    assert quarter["partial_ce"].item() == pytest.approx(3 * full["partial_ce"].item(), rel=1e-5)
    for term in TERMS[name]:
        assert quarter[term].item() == pytest.approx(2 * 0.25 * full[term].item(), rel=1e-5)
    assert once.step(batch, progress=0.1).keys() == {"partial_ce"}
    assert make_trial(name, weight=0).step(batch).keys() == {"partial_ce"}


@each
def test_alone_the_cross_entropy_is_that_of_partial_ce(name: str, make_trial: Callable, batch_for: Callable) -> None:
    trial = make_trial(name)
    batch = batch_for(trial, 2, (8, 9))
    expected = partial_cross_entropy(trial.network(batch.image), batch.target)
    torch.testing.assert_close(trial.step(batch)["partial_ce"], expected)


@pytest.mark.parametrize("name", [name for name in TERMS if name != "random-walker"])  # the walker minds the contrast
def test_brightness_and_contrast_of_the_image_do_not_change_a_weight(
    name: str, make_trial: Callable, batch_for: Callable
) -> None:
    # The network sees the image as it is here; only what a term takes from the image itself may not depend on units.
    trial = make_trial(name)
    batch = batch_for(trial, 2, (8, 9))
    other = replace(batch, image=3 * batch.image + 5)
    logits = trial.network(batch.image).detach()
    for term, value in trial.method.terms(batch, logits).items():
        torch.testing.assert_close(trial.method.terms(other, logits)[term], value, rtol=1e-3, atol=1e-4)
