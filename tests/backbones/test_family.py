"""What every registered backbone must do; a backbone gets these tests by being registered."""

from __future__ import annotations

import json
import re
import warnings
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medcl.backbones import backbones, build_backbone, dims_of, has_branches
from medcl.errors import SettingsError

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"base": 4, "levels": 3},
    "sam": {"size": "tiny", "input_size": 32},
    "res-unet": {"base": 4, "levels": 3},
    "probabilistic-unet": {"base": 4, "levels": 3},
    "unet++": {"base": 2},
    "swin": {"window": 3, "blocks": (2, 1, 1, 1)},
    "vision-lstm": {"base": 4, "levels": 3},
    "max-query": {"base": 4, "levels": 3, "width": 8},
}
"""Settings that make a backbone quick; those not named here run as they are."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "res-unet dual": ("res-unet", {"attention": "dual", "up": "window-attention"}),
    "res-unet guided": ("res-unet", {"attention": "guided"}),
}
"""Options that change what a network is made of: they meet the same tests."""
NEEDS = {"smp": "segmentation_models_pytorch", "sam": "transformers"}
"""Libraries too large for the tests; `test_members.py` stands in for them where they are missing."""
NAMES = [
    name
    for name in backbones.names()
    if (name not in NEEDS or find_spec(NEEDS[name]) is not None)
    and backbones.get(name).__module__.startswith("medcl.")  # other tests add some
]
every_backbone = pytest.mark.parametrize("name", [*NAMES, *VARIANTS])
every_claim = pytest.mark.parametrize(
    ("name", "ndim"),
    [(name, d) for name in [*NAMES, *VARIANTS] for d in dims_of(backbones.get(name.partition(" ")[0]))],
)


def build(
    name: str, *, in_channels: int = 1, classes: int = 3, ndim: int = 2, seed: int = 0, **options: Any
) -> nn.Module:
    torch.manual_seed(seed)
    family, variant = VARIANTS.get(name, (name, {}))
    given = {**SMALL.get(family, {}), **variant, **options}
    return build_backbone(family, in_channels=in_channels, classes=classes, ndim=ndim, **given)


def picture(*size: int, channels: int = 1, count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed))


@every_claim
@settings(max_examples=4)
@given(data=st.data(), channels=st.integers(1, 5), classes=st.integers(2, 20))
def test_any_size_channels_and_classes(name: str, ndim: int, data: Any, channels: int, classes: int) -> None:
    longest = (7, 14, 14) if ndim == 3 else (40, 40)
    size = data.draw(st.tuples(*(st.integers(1, most) for most in longest)))
    network = build(name, in_channels=channels, classes=classes, ndim=ndim).eval()
    with torch.no_grad():
        logits = network(picture(*size, channels=channels))
    assert logits.shape == (2, classes, *size)
    assert logits.isfinite().all()


@every_claim
def test_gradient_reaches_every_parameter_at_odd_sizes(name: str, ndim: int) -> None:
    for size in ((33, 47), (1, 40), (1, 1)) if ndim == 2 else ((5, 13, 11), (1, 16, 16)):
        network = build(name, in_channels=2, ndim=ndim).train()
        # Normalisation needs more than one value per channel at the coarsest level.
        logits = network(picture(*size, channels=2, count=4))
        (logits * torch.randn_like(logits)).sum().backward()
        for key, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue  # what a family keeps as it is, it says itself
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            if min(size) > 1:  # in an image of one line some weights of a kernel only ever meet padding
                assert parameter.grad.abs().sum() > 0, key


@every_claim
def test_bf16_stays_close_to_fp32(name: str, ndim: int) -> None:
    network = build(name, ndim=ndim).eval()
    image = picture(*(9, 18, 22)[-ndim:])
    with torch.no_grad():
        exact = network(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(image).float()
    scale, difference = exact.std(), (rounded - exact).abs()
    assert difference.mean() < 0.05 * scale + 1e-3
    assert difference.max() < 0.3 * scale + 1e-3
    assert (rounded.argmax(1) == exact.argmax(1)).float().mean() > 0.95


@every_claim
def test_channels_last_gives_the_same(name: str, ndim: int) -> None:
    network = build(name, in_channels=3, ndim=ndim).eval()
    image = picture(*(6, 21, 19)[-ndim:], channels=3)
    layout = torch.channels_last if ndim == 2 else torch.channels_last_3d
    with torch.no_grad():
        plain = network(image)
        last = network.to(memory_format=layout)(image.to(memory_format=layout))
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)


@every_claim
def test_gradient_in_channels_last_is_the_same(name: str, ndim: int) -> None:
    image = picture(*(16, 64, 64)[-ndim:], channels=1)
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last if ndim == 2 else torch.channels_last_3d):
        network = build(name, ndim=ndim).eval().to(memory_format=layout)
        network(image.contiguous(memory_format=layout)).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for plain, last in zip(*gradients, strict=True):
        torch.testing.assert_close(last, plain, rtol=1e-2, atol=1e-4 * float(plain.abs().max()) + 1e-7)


@every_backbone
def test_saved_weights_give_the_same(name: str, tmp_path: Any) -> None:
    from safetensors.torch import load_file, save_file

    network, image = build(name), picture(19, 23)
    network.train()(image)  # moves running statistics
    network.eval()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "weights.safetensors")
    other = build(name, seed=99).eval()
    with torch.no_grad():
        assert not torch.equal(other(image), network(image))
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        assert torch.equal(other(image), network(image))


@every_backbone
def test_same_seed_same_network_and_a_batch_is_its_images(name: str) -> None:
    image = picture(20, 17, count=3)
    network = build(name).eval()
    with torch.no_grad():
        whole = network(image)
        assert torch.equal(whole, build(name).eval()(image))
        for n in range(3):
            torch.testing.assert_close(network(image[n : n + 1])[0], whole[n], rtol=1e-4, atol=1e-5)


@every_backbone
def test_starts_undecided(name: str) -> None:
    # At the start no class may be favoured by much, or strokes of a rare class are drowned before they are seen.
    with torch.no_grad():
        probabilities = build(name, classes=5).eval()(picture(32, 32)).softmax(1)
    assert (probabilities.mean(dim=(0, 2, 3)) - 0.2).abs().max() < 0.1


@every_backbone
def test_settings_survive_json_and_refuse_unknown_keys(name: str) -> None:
    family = backbones.get(name.partition(" ")[0])
    assert family.parse(json.loads(json.dumps(family.parse({}).model_dump(mode="json")))) == family.parse({})
    with pytest.raises(SettingsError, match=re.escape("unknown setting 'no_such_setting'")):
        build(name, no_such_setting=1)
    assert all(field.description for field in family.model_fields.values())


@every_backbone
def test_onnx_gives_the_same(name: str, tmp_path: Any) -> None:
    import onnxruntime

    network, image = build(name).eval(), picture(32, 48)
    file = tmp_path / "network.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of sizes that become constants
        torch.onnx.export(network, (image,), str(file), opset_version=17, dynamo=False)
        expected = network(image)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


@every_backbone
def test_two_parts_give_what_the_whole_gives(name: str) -> None:
    if not has_branches(backbones.get(name.partition(" ")[0])):
        assert not hasattr(build(name), "branch")  # a family that can must say so
        return
    network, image = build(name).eval(), picture(20, 17)
    with torch.no_grad():
        features = network.encode(image)
        whole = network(image)
        assert torch.equal(network.decode(features, (20, 17)), whole)
        second = network.branch().eval()(features, (20, 17))
    assert second.shape == whole.shape
    assert not torch.equal(second, whole)


def test_unknown_backbone_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="did you mean 'unet'"):
        build("unnet")
