"""What corrects probabilities: applied as its formula says, stored beside the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from medcl.errors import ModelError
from medcl.files import write_json
from medcl.inference.model import Model
from medcl.inference.scaling import CALIBRATION, Scaling


def _map(seed: int = 0) -> torch.Tensor:
    logits = torch.randn(3, 1, 30, 30, generator=torch.Generator().manual_seed(seed)) * 2
    logits[0, :, :, 8:] += 40  # structures on the left only
    return torch.softmax(logits, 0)


def test_near_structures_it_is_a_temperature_and_far_another_one() -> None:
    shares = _map()
    scaled = Scaling.of(2.0, 3, far=0.5).apply(shares)
    torch.testing.assert_close(scaled.sum(0), torch.ones(1, 30, 30))
    near = torch.softmax(shares.clamp_min(1e-9).log() / 2, 0)
    torch.testing.assert_close(scaled[..., :8], near[..., :8])
    far = torch.softmax(shares.clamp_min(1e-9).log() / 0.5, 0)
    torch.testing.assert_close(scaled[..., 20:], far[..., 20:])
    assert bool((scaled.argmax(0) == shares.argmax(0)).all())


def test_one_is_the_identity() -> None:
    shares = _map(1)
    torch.testing.assert_close(Scaling.of(1.0, 3).apply(shares), shares, atol=1e-6, rtol=1e-4)


def test_a_model_takes_what_lies_in_its_folder(saved: Callable[..., Path]) -> None:
    folder = saved("unet", {"base": 4, "levels": 2})
    image = np.random.default_rng(0).normal(50, 20, (2, 24, 24)).astype(np.float32)
    plain = Model.load(folder, engine="torch", precision="fp32")
    before = plain.predict(image, spacing_mm=(5, 1, 1), probabilities=True)
    Scaling.of(3.0, 3, far=3.0, weights_sha256=plain.info.weights_sha256, fitted_on="a test").save(folder)
    model = Model.load(folder, engine="torch", precision="fp32")
    assert model.scaling is not None
    assert "temperature 3.00" in model.scaling.words()
    after = model.predict(image, spacing_mm=(5, 1, 1), probabilities=True)
    assert before.probabilities is not None
    assert after.probabilities is not None
    np.testing.assert_array_equal(before.mask, after.mask)
    expected = torch.softmax(torch.from_numpy(before.probabilities).log() / 3, 0)
    np.testing.assert_allclose(after.probabilities, expected, atol=1e-5)
    assert Model.load(folder, engine="torch", calibrated=False).scaling is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": [1, 1], "bias": [0, 0]}, "expected numbers for 3 classes, got 2"),
        ({"scale": [1, 1, 1], "bias": [0, 0, 0], "weights_sha256": "other"}, "other weights"),
        ({"scales": [1]}, "calibration.json"),
        (["no mapping"], "calibration.json"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(saved: Callable[..., Path], values: object, message: str) -> None:
    folder = saved()
    write_json(folder / CALIBRATION, values)
    with pytest.raises(ModelError, match=rf"{message}[\s\S]*medcl calibrate"):
        Model.load(folder, engine="torch")
