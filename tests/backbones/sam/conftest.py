"""A second implementation as judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def reference(network: Any) -> Any:
    """A SamModel with the numbers of a network of ours."""
    from transformers import SamConfig, SamModel

    vision = network.vision_encoder.config
    config = SamConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config={"hidden_size": 64, "image_size": 64, "patch_size": 8},
        mask_decoder_config=network.mask_decoder.config.to_dict(),
    )
    model = SamModel(config).eval()
    own = {n: v for n, v in network.state_dict().items() if not n.startswith("stem.")}
    own["shared_image_embedding.positional_embedding"] = own["prompt_encoder.shared_embedding.positional_embedding"]
    missing = model.load_state_dict(own, strict=False)
    assert missing.unexpected_keys == []
    assert all("iou_prediction_head" in name for name in missing.missing_keys)
    return model


@pytest.fixture(name="reference")
def _reference() -> Callable[[Any], Any]:
    return reference
