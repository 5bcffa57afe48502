"""Features of a frozen encoder are computed once and found again, and change nothing but the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medcl.errors import SettingsError
from medcl.training import train
from medcl.training.configure import configure
from medcl.training.features import FeatureCache, check_cached


class Halves(nn.Module):
    """A frozen encoder that doubles, a decoder that scales; counts what it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.decoder = nn.Parameter(torch.tensor(3.0))
        self.encoded = 0

    def encode(self, image: Tensor) -> list[Tensor]:
        self.encoded += len(image)
        return [self.encoder * image, image[..., ::2, ::2]]

    def decode(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        assert features[0].shape[2:] == size
        return self.decoder * features[0]


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, 4, 6, generator=torch.Generator().manual_seed(seed))


def test_an_image_is_encoded_once_whatever_batch_it_comes_in(tmp_path: Path) -> None:
    network, batch = Halves(), images(3)
    cache = FeatureCache(tmp_path, network, "same")
    first = cache.encode(network, batch)
    assert network.encoded == 3
    again = cache.encode(network, batch[[2, 0]])
    assert network.encoded == 3
    assert (cache.hits, cache.misses) == (2, 3)
    for level, whole in zip(again, first, strict=True):
        assert torch.equal(level, whole[[2, 0]])
    torch.testing.assert_close(first[0], 2 * batch, rtol=1e-3, atol=1e-3)
    FeatureCache(tmp_path, network, "same").encode(network, batch)  # another process, later
    assert network.encoded == 3
    cache.encode(network, batch + 1e-6)
    assert network.encoded == 6


def test_other_weights_or_settings_are_another_cache(tmp_path: Path) -> None:
    network, other = Halves(), Halves()
    with torch.no_grad():
        other.decoder.mul_(5)
    assert FeatureCache(tmp_path, network, "a").folder == FeatureCache(tmp_path, other, "a").folder
    assert FeatureCache(tmp_path, network, "a").folder != FeatureCache(tmp_path, network, "b").folder
    with torch.no_grad():
        other.encoder.mul_(5)
    assert FeatureCache(tmp_path, network, "a").folder != FeatureCache(tmp_path, other, "a").folder


def test_the_decoder_learns_through_the_cache(tmp_path: Path) -> None:
    network = Halves()
    logits = FeatureCache(tmp_path, network, "a").through(network)(images(2))
    logits.sum().backward()
    assert network.decoder.grad is not None
    assert network.encoder.grad is None


def test_a_full_disk_stops_keeping_and_not_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medcl.training.features.SPARE", 2**60)
    network = Halves()
    cache = FeatureCache(tmp_path, network, "a")
    for _ in range(2):
        cache.encode(network, images(2))
    assert network.encoded == 4
    assert not list(cache.folder.rglob("*.safetensors"))


def test_an_encoder_that_is_trained_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"cached_batches: expected a backbone with a frozen encoder, got 'unet'"):
        check_cached(configure({"cached_batches": 3}))


@pytest.mark.parametrize(
    ("options", "instead"), [({"size": "tiny", "tune": "decoder"}, "tune=full"), ({"size": "vit_b"}, "size=tiny")]
)
def test_frozen_parts_and_large_encoders_want_weights(options: dict[str, str], instead: str) -> None:
    with pytest.raises(SettingsError, match=rf"'sam': expected a file of weights, got none.*--weights.*{instead}"):
        configure({"backbone": {"name": "sam", **options}})
    configure({"backbone": {"name": "sam", "size": "tiny"}})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights for a tiny SAM, as a Hugging Face folder has it."""
    pytest.importorskip("transformers", reason="the extra sam is not installed")
    from safetensors.torch import save_file

    from medcl.backbones import build_backbone

    torch.manual_seed(0)
    network = build_backbone("sam", in_channels=1, classes=4, ndim=2, size="tiny", input_size=32)
    state = {n: v.contiguous() for n, v in network.state_dict().items() if n != "stem.weight"}
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(state, path)
    return path


@pytest.mark.parametrize("method", ["medcl", "dmpls"])
def test_a_run_reads_its_features_and_its_model_needs_no_file(
    hearts: Path, tiny: dict[str, Any], weights: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcl.inference.model import Model

    caches: list[FeatureCache] = []
    build = FeatureCache.__init__

    def remember(self: FeatureCache, *arguments: Any) -> None:
        build(self, *arguments)
        caches.append(self)

    monkeypatch.setattr(FeatureCache, "__init__", remember)
    backbone = {"name": "sam", "size": "tiny", "input_size": 32, "tune": "decoder", "weights": str(weights)}
    options = {**tiny, "method": tiny["method"] if method == "medcl" else method, "backbone": backbone}
    result = train(hearts, tmp_path / "run", budget="6steps", settings={**options, "cached_batches": 2})
    assert result.finished
    assert caches[0].hits >= (6 - 2) * 4, "all steps but the first two find their images"
    weights_copy = weights.with_name("away.safetensors")
    weights.rename(weights_copy)
    try:
        model = Model.load(result.model, engine="torch", device="cpu")
    finally:
        weights_copy.rename(weights)
    case = next((hearts / "imagesTr").glob("*.nii.gz"))
    assert model.predict(case).mask.shape == (4, 64, 64)
    assert model.info.settings["backbone"]["weights"] == str(weights)
    assert "weights" not in model.info.backbone_settings


def test_a_resumed_run_repeats_an_uninterrupted_one(
    hearts: Path, tiny: dict[str, Any], weights: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    backbone = {"name": "sam", "size": "tiny", "input_size": 32, "tune": "decoder", "weights": str(weights)}
    options = {**tiny, "method": "partial-ce", "backbone": backbone, "budget": {"steps": 4}, "cached_batches": 3}
    found = {}
    for name in ("fresh", "warm"):  # the second finds everything on disk
        train(hearts, tmp_path / name, settings=options, store=tmp_path / "store")
        found[name] = load_file(tmp_path / name / "model" / "weights.safetensors")
    assert all(torch.equal(found["fresh"][k], found["warm"][k]) for k in found["fresh"])
