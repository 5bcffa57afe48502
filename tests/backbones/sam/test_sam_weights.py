"""Published layouts, written out name by name from the public sources, become the weights of a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medcl.backbones import build_backbone
from medcl.errors import ModelError

pytest.importorskip("transformers", reason="the extra sam is not installed")

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, outside: int, inside: int) -> Shapes:
    return {f"{name}.weight": (outside, inside), f"{name}.bias": (outside,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def convolution(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}


def neck(width: int, out: int) -> Shapes:
    first, second = (
        {"image_encoder.neck.0.weight": (out, width, 1, 1)},
        {"image_encoder.neck.2.weight": (out, out, 3, 3)},
    )
    return first | norm("image_encoder.neck.1", out) | second | norm("image_encoder.neck.3", out)


def vit(
    width: int, depth: int, heads: int, whole: tuple[int, ...], *, grid: int, patch: int, window: int, out: int
) -> Shapes:
    """segment-anything's ImageEncoderViT."""
    shapes: Shapes = {"image_encoder.pos_embed": (1, grid, grid, width)}
    shapes |= convolution("image_encoder.patch_embed.proj", width, 3, patch, patch)
    for i in range(depth):
        block = f"image_encoder.blocks.{i}"
        side = grid if i in whole else window
        shapes |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        shapes |= {f"{block}.attn.rel_pos_{a}": (2 * side - 1, width // heads) for a in "hw"}
        shapes |= linear(f"{block}.attn.qkv", 3 * width, width) | linear(f"{block}.attn.proj", width, width)
        shapes |= linear(f"{block}.mlp.lin1", 4 * width, width) | linear(f"{block}.mlp.lin2", width, 4 * width)
    return shapes | neck(width, out)


def prompts_and_decoder(width: int, mlp: int) -> Shapes:
    """segment-anything's PromptEncoder and MaskDecoder."""
    shapes: Shapes = {"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, width // 2)}
    names = [*(f"point_embeddings.{i}" for i in range(4)), "not_a_point_embed", "no_mask_embed"]
    shapes |= {f"prompt_encoder.{name}.weight": (1, width) for name in names}
    down = "prompt_encoder.mask_downscaling"
    shapes |= convolution(f"{down}.0", 4, 1, 2, 2) | norm(f"{down}.1", 4)
    shapes |= convolution(f"{down}.3", 16, 4, 2, 2) | norm(f"{down}.4", 16) | convolution(f"{down}.6", width, 16, 1, 1)

    def attention(name: str, inner: int) -> Shapes:
        parts = [linear(f"{name}.{p}_proj", inner, width) for p in "qkv"]
        return {k: v for part in parts for k, v in part.items()} | linear(f"{name}.out_proj", width, inner)

    top = "mask_decoder.transformer"
    for i in range(2):
        layer = f"{top}.layers.{i}"
        shapes |= attention(f"{layer}.self_attn", width)
        for cross in ("cross_attn_token_to_image", "cross_attn_image_to_token"):
            shapes |= attention(f"{layer}.{cross}", width // 2)
        shapes |= linear(f"{layer}.mlp.lin1", mlp, width) | linear(f"{layer}.mlp.lin2", width, mlp)
        for n in range(1, 5):
            shapes |= norm(f"{layer}.norm{n}", width)
    shapes |= attention(f"{top}.final_attn_token_to_image", width // 2) | norm(f"{top}.norm_final_attn", width)
    shapes |= {"mask_decoder.iou_token.weight": (1, width), "mask_decoder.mask_tokens.weight": (4, width)}
    up = "mask_decoder.output_upscaling"
    shapes |= {f"{up}.0.weight": (width, width // 4, 2, 2), f"{up}.0.bias": (width // 4,)} | norm(f"{up}.1", width // 4)
    shapes |= {f"{up}.3.weight": (width // 4, width // 8, 2, 2), f"{up}.3.bias": (width // 8,)}
    for i in range(4):
        head = f"mask_decoder.output_hypernetworks_mlps.{i}.layers"
        shapes |= linear(f"{head}.0", width, width) | linear(f"{head}.1", width, width)
        shapes |= linear(f"{head}.2", width // 8, width)
    head = "mask_decoder.iou_prediction_head.layers"
    return (
        shapes | linear(f"{head}.0", width, width) | linear(f"{head}.1", width, width) | linear(f"{head}.2", 4, width)
    )


def adapters(width: int, depth: int) -> Shapes:
    """SAM-Med2D's Adapter_Layer in each block."""
    shapes: Shapes = {}
    for i in range(depth):
        name = f"image_encoder.blocks.{i}.Adapter"
        shapes |= norm(f"{name}.norm", width)
        shapes |= {f"{name}.channel.0.weight": (width // 4, width), f"{name}.channel.2.weight": (width, width // 4)}
        shapes |= {f"{name}.spatial.0.weight": (width, width, 3, 3), f"{name}.spatial.2.weight": (width, width, 4, 4)}
    return shapes


def tiny_vit() -> Shapes:
    """MobileSAM's TinyViT: widths 64, 128, 160, 320; depths 2, 2, 6, 2; heads 2, 4, 5, 10; windows 7, 7, 14, 7."""
    shapes: Shapes = {}

    def conv_bn(name: str, *shape: int) -> None:
        shapes[f"{name}.c.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = (shape[0],)
        shapes[f"{name}.bn.num_batches_tracked"] = ()

    widths, depths, heads, windows = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)
    conv_bn("image_encoder.patch_embed.seq.0", 32, 3, 3, 3)
    conv_bn("image_encoder.patch_embed.seq.2", 64, 32, 3, 3)
    for i, width in enumerate(widths):
        for j in range(depths[i]):
            block = f"image_encoder.layers.{i}.blocks.{j}"
            if i == 0:
                conv_bn(f"{block}.conv1", 256, 64, 1, 1)
                conv_bn(f"{block}.conv2", 256, 1, 3, 3)
                conv_bn(f"{block}.conv3", 64, 256, 1, 1)
                continue
            shapes[f"{block}.attn.attention_biases"] = (heads[i], windows[i] ** 2)
            shapes |= norm(f"{block}.attn.norm", width) | linear(f"{block}.attn.qkv", 3 * width, width)
            shapes |= linear(f"{block}.attn.proj", width, width) | norm(f"{block}.mlp.norm", width)
            shapes |= linear(f"{block}.mlp.fc1", 4 * width, width) | linear(f"{block}.mlp.fc2", width, 4 * width)
            conv_bn(f"{block}.local_conv", width, 1, 3, 3)
        if i < 3:
            down, wider = f"image_encoder.layers.{i}.downsample", widths[i + 1]
            conv_bn(f"{down}.conv1", wider, width, 1, 1)
            conv_bn(f"{down}.conv2", wider, 1, 3, 3)
            conv_bn(f"{down}.conv3", wider, wider, 1, 1)
    shapes |= norm("image_encoder.norm_head", 320) | linear("image_encoder.head", 1000, 320)
    return shapes | neck(320, 256)


def random_state(shapes: Shapes) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        if not shape:
            state[name] = torch.tensor(3)
        else:
            state[name] = 0.05 * torch.randn(shape, generator=generator) + (0.5 if name.endswith("running_var") else 0)
    return state


THEIRS = """
image_encoder.blocks.>vision_encoder.layers.
image_encoder.patch_embed.proj>vision_encoder.patch_embed.projection
image_encoder.pos_embed>vision_encoder.pos_embed
image_encoder.neck.0>vision_encoder.neck.conv1
image_encoder.neck.1>vision_encoder.neck.layer_norm1
image_encoder.neck.2>vision_encoder.neck.conv2
image_encoder.neck.3>vision_encoder.neck.layer_norm2
pe_layer.positional_encoding_gaussian_matrix>shared_embedding.positional_embedding
point_embeddings>point_embed
mask_downscaling.0>mask_embed.conv1
mask_downscaling.1>mask_embed.layer_norm1
mask_downscaling.3>mask_embed.conv2
mask_downscaling.4>mask_embed.layer_norm2
mask_downscaling.6>mask_embed.conv3
norm_final_attn>layer_norm_final_attn
output_upscaling.0>upscale_conv1
output_upscaling.1>upscale_layer_norm
output_upscaling.3>upscale_conv2
"""
"""What `transformers` calls what segment-anything calls otherwise: a second list, written by hand."""

TINY = {"grid": 8, "patch": 8, "window": 7, "out": 64}
SMALL: dict[str, Any] = {"size": "tiny", "input_size": 64}


def tiny_shapes(grid: int = 8) -> Shapes:
    return vit(96, 4, 3, (1, 3), **{**TINY, "grid": grid}) | prompts_and_decoder(64, 128)


def saved(folder: Path, state: Any, name: str = "sam.pth") -> Path:
    torch.save(state, folder / name)
    return folder / name


def built(weights: Path, *, classes: int = 3, in_channels: int = 1, **options: Any) -> tuple[Any, list[str]]:
    said: list[str] = []
    torch.manual_seed(0)
    network = build_backbone(
        "sam",
        in_channels=in_channels,
        classes=classes,
        ndim=2,
        tell=said.append,
        weights=weights,
        **{**SMALL, **options},
    )
    return network.eval(), said


def test_names_and_shapes_are_those_of_the_published_sizes() -> None:
    sizes = {
        "vit_b": (768, 12, 12, (2, 5, 8, 11)),
        "vit_l": (1024, 24, 16, (5, 11, 17, 23)),
        "vit_h": (1280, 32, 16, (7, 15, 23, 31)),
    }
    counts = {"vit_b": 93_735_472, "vit_l": 312_342_832, "vit_h": 641_090_608}  # as published, positions left out
    from medcl.backbones.sam.layouts import layout_of, plain_names

    for size, (width, depth, heads, whole) in sizes.items():
        shapes = vit(width, depth, heads, whole, grid=64, patch=16, window=14, out=256) | prompts_and_decoder(256, 2048)
        positions = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
        assert sum(torch.Size(s).numel() for n, s in shapes.items() if n != positions) == counts[size]
        state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        plain = plain_names(state, layout_of(state, "file"))
        with torch.device("meta"):
            network = build_backbone("sam", in_channels=1, classes=4, ndim=2, size=size, input_size=1024)
        own = {n: tuple(v.shape) for n, v in network.state_dict().items() if n != "stem.weight"}
        assert own == {n: tuple(v.shape) for n, v in plain.items()}


@pytest.mark.parametrize("nest", [None, "model", "state_dict"])
def test_original_weights_give_the_numbers_of_transformers(tmp_path: Path, nest: str | None) -> None:
    from transformers import SamConfig, SamModel

    state = random_state(tiny_shapes())
    content = state if nest is None else {nest: state, "epoch": 3, "optimizer": {"lr": 0.1}}
    network, said = built(saved(tmp_path, content), tune="full")
    config = SamConfig(
        vision_config=network.vision_encoder.config.to_dict(),
        prompt_encoder_config={"hidden_size": 64, "image_size": 64, "patch_size": 8},
        mask_decoder_config={**network.mask_decoder.config.to_dict(), "num_multimask_outputs": 3},
    )
    model = SamModel(config).eval()

    def theirs(name: str) -> str:
        for line in THEIRS.split():
            ours, other = line.split(">")
            name = name.replace(ours, other)
        if "neck" not in name:
            for i in range(1, 5):
                name = name.replace(f".norm{i}.", f".layer_norm{i}.")
        if "hypernetworks" in name or "iou_prediction" in name:
            name = name.replace("layers.0", "proj_in").replace("layers.1", "layers.0").replace("layers.2", "proj_out")
        return name

    renamed = {theirs(n): v for n, v in state.items()}
    renamed["shared_image_embedding.positional_embedding"] = renamed[
        "prompt_encoder.shared_embedding.positional_embedding"
    ]
    model.load_state_dict(renamed)
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    colours = image.expand(-1, 3, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(network.encode(image)[0], model.get_image_embeddings(colours), rtol=1e-4, atol=1e-4)
        single = model(pixel_values=colours, multimask_output=False).pred_masks[:, 0]
        logits = network(image)
        assert (logits.softmax(1) - 1 / 3).abs().max() < 1e-3  # equal tokens: no class is favoured
        # With SAM's four tokens in the place of four classes the first one's mask is SAM's single mask.
        four, _ = built(saved(tmp_path, state), classes=4, tune="full")
        four.load_state_dict({n: renamed.get(n, v) for n, v in four.state_dict().items()})
        masks = four.masks(four.encode(image)[0], four._no_mask())
        torch.testing.assert_close(masks[:, :1], single, rtol=1e-3, atol=1e-4)
    assert any("layout sam" in line for line in said)
    assert any("each of the 3 classes" in line for line in said)


@pytest.mark.parametrize("tune", ["lora", "adapter", "decoder", "full"])
def test_every_way_of_tuning_starts_as_the_same_network(tmp_path: Path, tune: str) -> None:
    path = saved(tmp_path, random_state(tiny_shapes()))
    image = torch.randn(1, 2, 50, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = built(path, tune="full", in_channels=2)[0](image)
        torch.testing.assert_close(built(path, tune=tune, in_channels=2)[0](image), expected, rtol=1e-4, atol=1e-5)


def test_positions_are_interpolated_to_the_input_size(tmp_path: Path) -> None:
    state = random_state(tiny_shapes(grid=16))
    network, said = built(saved(tmp_path, state), tune="full")
    assert any("16 x 16 tokens resized to 8 x 8" in line for line in said)
    own = network.state_dict()
    grid = state["image_encoder.pos_embed"].permute(0, 3, 1, 2)
    assert torch.allclose(
        own["vision_encoder.pos_embed"].permute(0, 3, 1, 2), functional.avg_pool2d(grid, 2), atol=1e-6
    )
    along = state["image_encoder.blocks.1.attn.rel_pos_h"]
    resized = own["vision_encoder.layers.1.attn.rel_pos_h"]
    assert resized.shape == (15, 32)
    assert torch.allclose(resized[7], along[15], atol=1e-5)  # the middle is the distance 0 in both
    assert torch.equal(own["vision_encoder.layers.0.attn.rel_pos_h"], state["image_encoder.blocks.0.attn.rel_pos_h"])


def test_hugging_face_folder(tmp_path: Path, reference: Callable[[Any], Any]) -> None:
    original, _ = built(saved(tmp_path, random_state(tiny_shapes())), tune="full", classes=4)
    folder = tmp_path / "hf"
    reference(original).save_pretrained(folder)
    network, said = built(folder, tune="full", classes=4)
    image = torch.randn(1, 1, 64, 40)
    with torch.no_grad():
        torch.testing.assert_close(network(image), original(image))
    assert any("layout hugging-face" in line for line in said)


def test_sam_med2d_with_its_adapters(tmp_path: Path) -> None:
    state = random_state(tiny_shapes() | adapters(96, 4))
    path = saved(tmp_path, {"model": state})
    with pytest.raises(ModelError, match=r"SAM-Med2D's adapters.*backbone\.adapter=sam-med2d"):
        built(path, tune="full")
    network, said = built(path, tune="decoder", adapter="sam-med2d")
    assert any("layout sam-med2d" in line for line in said)
    # The block by hand: what the adapter adds to the MLP, as in the released code.
    tokens = torch.randn(2, 8, 8, 96, generator=torch.Generator().manual_seed(2))
    part = {n.removeprefix("image_encoder.blocks.2.Adapter."): v for n, v in state.items() if "blocks.2.Adapter." in n}
    x = tokens.permute(0, 3, 1, 2)
    gate = torch.sigmoid(functional.relu(x.mean((2, 3)) @ part["channel.0.weight"].T) @ part["channel.2.weight"].T)
    local = functional.relu(
        functional.conv2d(gate[:, :, None, None] * x, part["spatial.0.weight"], stride=2, padding=1)
    )
    local = functional.relu(functional.conv_transpose2d(local, part["spatial.2.weight"], stride=2, padding=1))
    expected = functional.layer_norm((x + local).permute(0, 2, 3, 1), (96,), part["norm.weight"], part["norm.bias"])
    with torch.no_grad():
        found = network.vision_encoder.layers[2].mlp.adapter(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_mobile_sam_folds_its_normalisation_and_sorts_its_rows(tmp_path: Path) -> None:
    state = random_state(tiny_vit() | prompts_and_decoder(256, 2048))
    network, said = built(saved(tmp_path, state), size="vit_t", tune="decoder")
    assert any("layout mobile-sam, vit_t" in line for line in said)
    encoder = network.vision_encoder
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))

    def conv_bn(name: str, x: Tensor, **how: Any) -> Tensor:
        bn = {p: state[f"image_encoder.{name}.bn.{p}"] for p in ("weight", "bias", "running_mean", "running_var")}
        x = functional.conv2d(x, state[f"image_encoder.{name}.c.weight"], **how)
        return functional.batch_norm(x, bn["running_mean"], bn["running_var"], bn["weight"], bn["bias"], eps=1e-5)

    gelu = functional.gelu
    x = conv_bn(
        "patch_embed.seq.2", gelu(conv_bn("patch_embed.seq.0", image, stride=2, padding=1)), stride=2, padding=1
    )
    for j in range(2):
        inner = gelu(conv_bn(f"layers.0.blocks.{j}.conv1", x))
        inner = gelu(conv_bn(f"layers.0.blocks.{j}.conv2", inner, padding=1, groups=256))
        x = gelu(conv_bn(f"layers.0.blocks.{j}.conv3", inner) + x)
    x = gelu(conv_bn("layers.0.downsample.conv1", x))
    x = gelu(conv_bn("layers.0.downsample.conv2", x, stride=2, padding=1, groups=128))
    x = conv_bn("layers.0.downsample.conv3", x)  # (1, 128, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(encoder.stages[0](encoder.stem(image)), x, rtol=1e-4, atol=1e-5)
    # One block with windows of 7 on a map of 8: each head's rows are its queries, keys and values in turn.
    name = "image_encoder.layers.1.blocks.0"
    part = {n.removeprefix(f"{name}."): v for n, v in state.items() if n.startswith(name)}
    tokens = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 6, 0, 6))  # 14 x 14
    mixed = torch.zeros_like(tokens)
    for top in (0, 7):
        for left in (0, 7):
            window = tokens[:, top : top + 7, left : left + 7].reshape(49, 128)
            window = functional.layer_norm(window, (128,), part["attn.norm.weight"], part["attn.norm.bias"])
            rows = (window @ part["attn.qkv.weight"].T + part["attn.qkv.bias"]).view(49, 4, 96)
            heads = []
            for h in range(4):
                q, k, v = rows[:, h, :32], rows[:, h, 32:64], rows[:, h, 64:]
                bias = torch.empty(49, 49)
                for a in range(49):
                    for b in range(49):
                        away = (abs(a // 7 - b // 7), abs(a % 7 - b % 7))
                        bias[a, b] = part["attn.attention_biases"][h, away[0] * 7 + away[1]]
                heads.append((q @ k.T * 32**-0.5 + bias).softmax(-1) @ v)
            out = torch.cat(heads, 1) @ part["attn.proj.weight"].T + part["attn.proj.bias"]
            mixed[:, top : top + 7, left : left + 7] = out.view(1, 7, 7, 128)
    y = x + mixed[:, :8, :8].permute(0, 3, 1, 2)
    y = conv_bn("layers.1.blocks.0.local_conv", y, padding=1, groups=128)
    tokens = y.flatten(2).transpose(1, 2)
    inner = functional.layer_norm(tokens, (128,), part["mlp.norm.weight"], part["mlp.norm.bias"])
    inner = (
        gelu(inner @ part["mlp.fc1.weight"].T + part["mlp.fc1.bias"]) @ part["mlp.fc2.weight"].T + part["mlp.fc2.bias"]
    )
    expected = (tokens + inner).transpose(1, 2).reshape(y.shape)
    with torch.no_grad():
        torch.testing.assert_close(encoder.stages[1].blocks[0](x), expected, rtol=1e-4, atol=1e-5)
        assert network(torch.randn(1, 1, 33, 64)).shape == (1, 3, 33, 64)


def test_a_sam_of_ours_and_a_part_of_one(tmp_path: Path) -> None:
    from medcl.backbones.weights import write_weights

    original, _ = built(saved(tmp_path, random_state(tiny_shapes())), tune="full")
    state = original.state_dict()
    image = torch.randn(1, 1, 64, 40)
    network, _ = built(write_weights(tmp_path / "weights.safetensors", state), tune="full")
    with torch.no_grad():
        assert torch.equal(network(image), original(image))
    encoder = {n: v for n, v in state.items() if n.startswith("vision_encoder.")}
    part = write_weights(tmp_path / "part.safetensors", encoder, covers=("vision_encoder.",))
    network, said = built(part, tune="full", classes=5)
    with torch.no_grad():
        assert torch.equal(network.encode(image)[0], original.encode(image)[0])
    assert any("start fresh: mask_decoder, prompt_encoder, stem" in line for line in said)


# --- files that do not fit ---


def test_differences_are_listed(tmp_path: Path) -> None:
    state = random_state(tiny_shapes())
    del state["mask_decoder.iou_token.weight"]
    state["image_encoder.blocks.0.mlp.lin1.weight"] = torch.zeros(7, 96)
    state["image_encoder.surprise"] = torch.zeros(1)
    with pytest.raises(ModelError) as caught:
        built(saved(tmp_path, state), tune="full")
    message = str(caught.value)
    assert "missing: mask_decoder.iou_token.weight" in message
    assert "not in the network: image_encoder.surprise" in message
    assert "(7, 96) instead of (384, 96)" in message


def test_another_size_says_which_setting_would_do(tmp_path: Path) -> None:
    path = saved(tmp_path, random_state(tiny_shapes()))
    with pytest.raises(ModelError, match=r"got those of a tiny; set backbone\.size=tiny"), torch.device("meta"):
        build_backbone("sam", in_channels=1, classes=2, ndim=2, size="vit_b", weights=path)


def test_something_else_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected weights of SAM"):
        built(saved(tmp_path, {"conv.weight": torch.zeros(1)}))
    with pytest.raises(ModelError, match="no such file"):
        built(tmp_path / "nowhere" / "sam.pth")


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> Any:
            return print, ("run",)

    with pytest.raises(ModelError, match="without running code"):
        built(saved(tmp_path, {"model": Code()}))


def test_a_hub_id_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers.utils.hub

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(transformers.utils.hub, "cached_file", fails)
    with pytest.raises(ModelError, match=r"facebook/sam-vit-base: no such file or folder here.*download"):
        built(Path("facebook/sam-vit-base"))
