"""What single members of the family promise beyond the shared tests."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medcl.backbones import build_backbone
from medcl.backbones.attention import DualAttention
from medcl.backbones.layers import without_pointwise_strides
from medcl.backbones.optional import need
from medcl.backbones.vision_lstm import VisionLSTMBlock, matrix_lstm
from medcl.backbones.window_upsampling import WindowUpsampling, join_windows, split_windows
from medcl.errors import MissingExtraError, SettingsError


def build(name: str, *, in_channels: int = 1, classes: int = 3, ndim: int = 2, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(name, in_channels=in_channels, classes=classes, ndim=ndim, **options)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- layers ---


@pytest.mark.parametrize("step", [(2, 2), (1, 2), (2, 3, 1)])
def test_every_step_th_voxel_is_the_stride_of_a_pointwise_convolution(step: tuple[int, ...]) -> None:
    conv = (nn.Conv2d if len(step) == 2 else nn.Conv3d)(3, 4, 1, stride=step)
    image = torch.randn(2, 3, *(7, 8, 9)[: len(step)])
    expected = conv(image)
    network = without_pointwise_strides(nn.Sequential(conv))
    assert set(conv.stride) == {1}
    torch.testing.assert_close(network(image), expected)


# --- res-unet ---


def test_sizes_scale_width_and_depth_together() -> None:
    small, base, large = (build("res-unet", size=size, levels=3) for size in "SBL")
    assert [blocks[0].first.out_channels for blocks in small.encoder] == [16, 32, 64]
    assert [blocks[0].first.out_channels for blocks in large.encoder] == [64, 128, 256]
    assert [len(net.encoder[0]) for net in (small, base, large)] == [1, 1, 2]
    assert 3.5 < count(base) / count(small) < 4.5  # twice the width is four times the weights
    assert count(large) / count(base) > 6


def test_stu_net_s_in_3d_has_its_published_size() -> None:
    # 14.6 million parameters with 105 classes and one channel (Huang et al., 2023, table 1)
    with torch.device("meta"):
        network = build_backbone("res-unet", in_channels=1, classes=105, ndim=3, size="S")
    assert count(network) == pytest.approx(14.6e6, rel=0.1)


def test_res_unet_strides_are_checked() -> None:
    for name in ("res-unet", "vision-lstm"):
        with pytest.raises(SettingsError, match=f"backbone '{name}': expected strides with 2 numbers"):
            build(name, strides=((2, 2, 2),))


# --- attention and upsampling ---


def test_windows_by_hand() -> None:
    values = torch.arange(16.0).reshape(1, 1, 4, 4)
    tokens = split_windows(values, (2, 2))
    assert tokens[..., 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert torch.equal(join_windows(tokens, (2, 2), (2, 2)), values)
    volume = torch.randn(2, 3, 4, 6, 2)
    assert torch.equal(join_windows(split_windows(volume, (2, 3, 1)), (2, 3, 1), (2, 2, 2)), volume)


def test_window_upsampling_looks_into_its_own_window_only() -> None:
    torch.manual_seed(0)
    layer = WindowUpsampling(2, 4, 4, stride=(2, 2), window=2).eval()
    deep, skip = torch.randn(1, 4, 5, 5), torch.randn(1, 4, 10, 10)
    with torch.no_grad():
        before = layer(deep, skip)
        changed = deep.clone()
        changed[..., 4, 4] += 1  # a window of its own, three quarters padding
        difference = (layer(changed, skip) - before).abs().amax(dim=(0, 1))
    assert before.shape == skip.shape
    assert (difference[8:, 8:] > 0).all()
    assert difference[:8].max() == 0
    assert difference[:, :8].max() == 0


def test_dual_attention_mixes_channels_and_sees_every_place() -> None:
    torch.manual_seed(0)
    layer = DualAttention(2, 4)
    values = torch.randn(1, 4, 6, 6, requires_grad=True)
    layer(values)[0, 0, 0, 0].backward()
    assert values.grad is not None
    assert (values.grad[0, :, 5, 5] != 0).all()


# --- vision-lstm ---


def step_by_step(q: Tensor, k: Tensor, v: Tensor, given: Tensor, kept: Tensor) -> Tensor:
    """The same memory as a loop, as the definition has it."""
    n, heads, steps, d = q.shape
    memory, keys = torch.zeros(n, heads, d, d, dtype=q.dtype), torch.zeros(n, heads, d, dtype=q.dtype)
    read = []
    for t in range(steps):
        f, i = kept[:, :, t].sigmoid(), given[:, :, t].exp()
        key = k[:, :, t] / d**0.5
        memory = f[..., None, None] * memory + i[..., None, None] * v[:, :, t, :, None] * key[..., None, :]
        keys = f[..., None] * keys + i[..., None] * key
        weight = (keys * q[:, :, t]).sum(-1).abs().clamp_min(1)
        read.append((memory @ q[:, :, t, :, None])[..., 0] / weight[..., None])
    return torch.stack(read, dim=2)


def test_the_lstm_at_once_is_the_lstm_step_by_step() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 17, 4, generator=generator) for _ in range(3))
    given, kept = (2 * torch.randn(2, 3, 17, generator=generator) for _ in range(2))
    torch.testing.assert_close(
        matrix_lstm(q, k, v, given, kept), step_by_step(q, k, v, given, kept), rtol=1e-4, atol=1e-5
    )


def test_lstm_with_gates_that_would_overflow() -> None:
    q, k, v = (torch.randn(1, 1, 5, 2) for _ in range(3))
    assert matrix_lstm(q, k, v, torch.full((1, 1, 5), 200.0), torch.full((1, 1, 5), -200.0)).isfinite().all()


@pytest.mark.parametrize("backwards", [False, True])
def test_a_block_reads_in_one_direction(backwards: bool) -> None:
    torch.manual_seed(0)
    block = VisionLSTMBlock(2, 4, heads=2, backwards=backwards)
    values = torch.randn(1, 4, 8, 8, requires_grad=True)
    block(values)[0, :, 4].sum().backward()
    assert values.grad is not None
    reached = values.grad.abs().sum(dim=(0, 1, 3)) > 0  # rows
    later, earlier = reached[6:].any(), reached[:3].any()  # farther than the local convolution sees
    assert bool(earlier) is not backwards
    assert bool(later) is backwards


# --- unet++ ---


def test_unetpp_learns_at_every_depth_and_predicts_their_mean() -> None:
    network, image = build("unet++", base=2), torch.randn(3, 1, 16, 16)
    network.train()
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))  # the outputs are mixed anew
        network.eval()
        nodes = network._nodes(image, 4)
        outputs = [network._head(depth)(nodes[depth]) for depth in (1, 2, 3, 4)]
        torch.testing.assert_close(network(image), torch.stack(outputs).mean(0))


def test_unetpp_mixing_weights_are_a_convex_combination() -> None:
    network = build("unet++", base=2).train()
    weights = torch.stack(network._weights(torch.zeros(500, 3, 8, 8), 4))
    assert weights.shape == (4, 500, 1, 1, 1)
    torch.testing.assert_close(weights.sum(0), torch.ones(500, 1, 1, 1))
    assert (weights >= 0).all()
    assert (weights.mean(dim=(1, 2, 3, 4)) - 0.25).abs().max() < 0.05


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_unetpp_pruned_computes_the_nested_network_alone(depth: int) -> None:
    network, image = build("unet++", base=2, prune=depth).eval(), torch.randn(2, 1, 21, 17)
    whole = build("unet++", base=2).eval()  # the same weights: the seed is the same
    called: list[str] = []
    for name, layer in network.layers.named_children():
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
    with torch.no_grad():
        nodes = whole._nodes(torch.nn.functional.pad(image, (0, 15, 0, 11)), 4)
        torch.testing.assert_close(network(image), whole._head(depth)(nodes[depth])[..., :21, :17])
    assert f"conv_{depth}_0" in called
    assert f"conv_{depth + 1}_0" not in called
    assert [c for c in called if c.startswith("final")] == [f"final_conv_0_{depth}"]


def test_unetpp_without_supervision_has_one_output() -> None:
    network = build("unet++", base=2, deep_supervision=False).train()
    with torch.no_grad():
        image = torch.randn(2, 1, 16, 16)
        assert torch.equal(network(image), network(image))
    assert [n for n, _ in network.layers.named_children() if n.startswith("final")] == ["final_conv_0_4"]


# --- extras ---


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for package, extra, backbone in (
        ("monai", "monai", "swin"),
        ("monai", "monai", "unet++"),
        ("einops", "monai", "swin"),
        ("segmentation_models_pytorch", "smp", "smp"),
    ):
        for name in [n for n in sys.modules if n.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"'{package}'; install it with: pip install 'medcl\[{extra}\]'"):
            build(backbone)
        monkeypatch.undo()


def test_another_missing_module_keeps_its_trace() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_part"):
        need("medcl.no_such_part", extra="monai", backbone="swin")


class StandIn(nn.Module):
    """What medcl uses of a network of segmentation_models_pytorch."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.encoder.output_stride = 32
        self.segmentation_head = nn.Sequential(nn.Conv2d(4, classes, 1), nn.Identity())

    def forward(self, image: Tensor) -> Tensor:
        assert all(side % 32 == 0 for side in image.shape[2:]), "it takes whole steps only"
        return self.segmentation_head(self.encoder(image))


@pytest.fixture
def smp(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put a stand-in in the place of segmentation_models_pytorch; return what it was asked for."""
    asked: dict[str, Any] = {}

    def create_model(arch: str, **options: Any) -> nn.Module:
        asked.update(arch=arch, **options)
        return StandIn(options["in_channels"], options["classes"])

    module = ModuleType("segmentation_models_pytorch")
    module.encoders = SimpleNamespace(get_encoder_names=lambda: ["resnet18", "resnet34"])  # type: ignore[attr-defined]
    module.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", module)
    return asked


def test_smp_by_name(smp: dict[str, Any]) -> None:
    network = build("smp", encoder="resnet34", decoder="manet", in_channels=2)
    assert smp == {
        "arch": "manet",
        "encoder_name": "resnet34",
        "encoder_weights": None,  # nothing is fetched from anywhere
        "in_channels": 2,
        "classes": 3,
    }
    assert network(torch.randn(2, 2, 33, 70)).shape == (2, 3, 33, 70)


def test_torchvision_whose_compiled_part_is_missing_is_imported_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcl.backbones import optional

    (tmp_path / "torchvision.py").write_text(
        "import torch\ntorch.library.register_fake('torchvision::nms')(lambda dets, scores, iou_threshold: dets)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match="torchvision::nms does not exist"):
        import_module("torchvision")
    try:
        optional.let_torchvision_import.__wrapped__()
        assert sys.modules["torchvision"].__file__ == str(tmp_path / "torchvision.py")
    finally:
        optional._declared.clear()
        sys.modules.pop("torchvision", None)


def test_smp_refuses_unknown_encoders_and_volumes(smp: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"backbone 'smp': unknown encoder 'resnet19'; did you mean 'resnet18'\?"):
        build("smp", encoder="resnet19")
    with pytest.raises(SettingsError, match=r"backbone 'smp': expected 2D images, got 3D; choose one of .*res-unet"):
        build("smp", ndim=3)
