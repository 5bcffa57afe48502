"""The network: frame the image, encode it, decode one mask per class, unframe the logits."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medcl.backbones.prompts import ClassPrompts
from medcl.backbones.sam.sizes import SIZES, decoder_config, decoder_size, prompt_config, vision_config
from medcl.backbones.sam.tuning import add_adapters, add_lora, train_only
from medcl.errors import MissingExtraError, SettingsError

if TYPE_CHECKING:
    from medcl.backbones.sam import SamSettings

SURE = 8.0
"""Logit of a mask that is given as a prompt: the prompt encoder reads logits, and earlier answers are about so sure."""


def build_sam(settings: SamSettings, *, in_channels: int, classes: int, ndim: int) -> SamNetwork:
    """Build a SAM, freshly initialised, with what is not trained frozen; see `SamSettings.build`."""
    if ndim != 2:
        raise SettingsError(
            f"backbone 'sam': expected 2D images, got {ndim}D; set plan.ndim=2 to go slice by slice, "
            "or choose another backbone."
        )
    for package in ("transformers", "peft"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "sam", "The backbone 'sam'")
    network = SamNetwork(settings, in_channels=in_channels, classes=classes)
    if settings.adapter is not None:
        add_adapters(network.vision_encoder, settings.adapter, settings.adapter_ratio)
    if settings.tune == "lora":
        add_lora(network.vision_encoder, settings.rank, settings.alpha)
        add_lora(network.mask_decoder, settings.rank, settings.alpha)
    assert settings.tune is not None
    train_only(network, settings.tune)
    return network


class SamDecoding(nn.Module):
    """The way from an image embedding to logits, which the network and its further decoders share.

    Args:
        settings: Size and input size.
        classes: Channels of the logits.
    """

    def __init__(self, settings: SamSettings, *, classes: int) -> None:
        from transformers import SamConfig
        from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder

        super().__init__()
        self.settings, self.classes = settings, classes
        size = decoder_size(settings.size)
        self.grid = settings.input_size // size.patch
        # The prompt encoder takes the whole configuration only for the positions' number of features and scale.
        whole = SamConfig(
            vision_config={"num_pos_feats": size.channels // 2, "hidden_size": 2},
            prompt_encoder_config=prompt_config(settings.size, settings.input_size).to_dict(),
        )
        self.prompt_encoder = SamPromptEncoder(whole)
        self.mask_decoder = SamMaskDecoder(decoder_config(settings.size, classes))
        del self.mask_decoder.iou_prediction_head  # scores of masks: nothing here reads them
        self.prompt_encoder.shared_embedding.positional_embedding.requires_grad_(False)

    def decode(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map the image embedding [(N, channels, h, w)] to logits (N, classes, *size), without any prompt."""
        return self.unframe(self.masks(features[0], self._no_mask()), size)

    def masks(self, embedding: Tensor, dense: Tensor, sparse: Tensor | None = None) -> Tensor:
        """Return a mask per class at a quarter of the encoder's stride.

        As in SAM (Kirillov et al., ICCV 2023, appendix A) and SAMed: tokens and image attend to each other, the image
        is upscaled four times, and each class's token gives the weights of a linear layer over its channels.

        Args:
            embedding: (N, channels, h, w).
            dense: Embedding of the mask prompt, (1 or N, channels, h, w).
            sparse: Embedding of points and boxes, (N, tokens, channels).

        Returns:
            Logits (N, classes, 4 h, 4 w).
        """
        decoder, count = self.mask_decoder, embedding.shape[0]
        tokens = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight)).expand(count, 1, -1, -1)
        if sparse is not None:
            tokens = torch.cat((tokens, sparse[:, None]), dim=2)
        answers, image = decoder.transformer(
            point_embeddings=tokens,
            image_embeddings=embedding + dense,
            image_positional_embeddings=self._positions(),
            attention_similarity=None,
        )
        image = image.transpose(2, 3).reshape(embedding.shape)
        image = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image)))
        image = decoder.activation(decoder.upscale_conv2(image))
        heads = decoder.output_hypernetworks_mlps
        weights = torch.stack([head(answers[:, 0, 1 + c]) for c, head in enumerate(heads)], dim=1)
        return (weights @ image.flatten(2)).unflatten(2, image.shape[2:])

    def unframe(self, masks: Tensor, size: tuple[int, ...]) -> Tensor:
        """Bring masks of the square frame to logits at the size of the image."""
        side, size = self.settings.input_size, tuple(int(length) for length in size)
        rows, columns = framed_size(size, side)
        masks = functional.interpolate(masks, size=(side, side), mode="bilinear", align_corners=False)
        masks = masks[..., :rows, :columns]
        if (rows, columns) != size:
            masks = functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)
        return masks

    def _no_mask(self) -> Tensor:
        return self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)

    @torch.no_grad()
    def _positions(self) -> Tensor:
        """Return the embedding of the positions of the image's tokens, (1, channels, h, w)."""
        table = self.prompt_encoder.shared_embedding
        along = (torch.arange(self.grid, device=table.positional_embedding.device) + 0.5) / self.grid
        places = torch.stack(torch.meshgrid(along, along, indexing="ij")[::-1], dim=-1)
        with torch.autocast(places.device.type, enabled=False):  # angles of many turns: 8 bits would not do
            return table(places).permute(2, 0, 1)[None]


class SamBranch(SamDecoding):
    """A further decoder with weights of its own on the embedding of a SAM."""

    def forward(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map the image embedding [(N, channels, h, w)] to logits (N, classes, *size)."""
        return self.decode(features, size)


class SamNetwork(SamDecoding):
    """SAM from an image to class logits; reads prompts where there are any.

    Args:
        settings: Size, input size and what is trained.
        in_channels: Channels of the image.
        classes: Channels of the logits.
    """

    def __init__(self, settings: SamSettings, *, in_channels: int, classes: int) -> None:
        super().__init__(settings, classes=classes)
        self.stem = nn.Conv2d(in_channels, 3, 1, bias=False)
        with torch.no_grad():
            shares = functional.adaptive_avg_pool1d(torch.eye(in_channels), 3)  # (in_channels, 3)
            self.stem.weight.copy_(shares.T[..., None, None])
        self.vision_encoder = _encoder(settings)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, in_channels, Y, X) to logits (N, classes, Y, X)."""
        return self.decode(self.encode(image), tuple(image.shape[2:]))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map (N, in_channels, Y, X) to the image embedding, [(N, channels, h, w)]."""
        return [self.embed(frame(self.stem(image), self.settings.input_size))]

    def embed(self, square: Tensor) -> Tensor:
        """Map a framed image (N, 3, input_size, input_size) to its embedding (N, channels, h, w)."""
        encoder: Any = self.vision_encoder
        if self.settings.size not in SIZES:
            return encoder(square)
        # Not through the library's own forward: what it wraps around these four lines cannot be traced.
        tokens = encoder.patch_embed(square) + encoder.pos_embed
        for layer in encoder.layers:
            tokens = layer(tokens)
        return encoder.neck(tokens)

    def branch(self) -> SamBranch:
        """Return a further decoder of the same structure with fresh weights, all of them trained.

        Positions stay those of the network: the embedding was made for them.
        """
        other = SamBranch(self.settings, classes=self.classes)
        other.prompt_encoder.load_state_dict(self.prompt_encoder.state_dict())
        train_only(other, "full")
        return other

    def prompted(self, image: Tensor, prompts: Sequence[ClassPrompts]) -> Tensor:
        """Return logits of one image for what a person points at.

        Each class with prompts is asked for alone: its points count as inside, points of other classes as outside, and
        its own token answers. Classes without prompts answer as ever. Source: derived; SAM knows one object at a time.

        Args:
            image: (1, in_channels, Y, X).
            prompts: At most one entry per class.

        Returns:
            Logits (1, classes, Y, X).
        """
        size = tuple(image.shape[2:])
        embedding = self.encode(image)[0]
        logits = self.masks(embedding, self._no_mask())
        for prompt in prompts:
            sparse, dense = self._embed_prompt(prompt, size)
            answer = self.masks(embedding, dense, sparse)
            logits = torch.cat((logits[:, : prompt.index], answer[:, [prompt.index]], logits[:, prompt.index + 1 :]), 1)
        return self.unframe(logits, size)

    def _embed_prompt(self, prompt: ClassPrompts, size: tuple[int, ...]) -> tuple[Tensor | None, Tensor]:
        device = self.stem.weight.device
        side = self.settings.input_size
        scale = torch.tensor([f / s for f, s in zip(framed_size(size, side), size, strict=True)], device=device)

        def framed(places: Sequence[Sequence[float]]) -> Tensor:
            """(y, x) in pixels of the image to (x, y) in pixels of the frame; pixel centres are whole numbers."""
            return ((torch.tensor(places, device=device, dtype=torch.float32) + 0.5) * scale - 0.5).flip(-1)

        points = labels = boxes = masks = None
        if prompt.points:
            points = framed([(y, x) for y, x, _ in prompt.points])[None, None]
            labels = torch.tensor([int(inside) for *_, inside in prompt.points], device=device)[None, None]
        if prompt.box is not None:
            y0, x0, y1, x1 = prompt.box
            boxes = framed([(y0, x0), (y1, x1)]).reshape(1, 1, 4)
        if prompt.mask is not None:
            mask = torch.as_tensor(prompt.mask, dtype=torch.float32, device=device)[None, None]
            square = frame(mask, side)
            masks = functional.interpolate(square, size=(4 * self.grid,) * 2, mode="bilinear", align_corners=False)
            masks = (2 * masks - 1) * SURE
        sparse, dense = self.prompt_encoder(points, labels, boxes, masks)
        return None if sparse is None else sparse[:, 0], dense


def framed_size(size: Sequence[int], side: int) -> tuple[int, int]:
    """Return rows and columns of an image whose longer side was scaled to `side`."""
    lengths = [int(length) for length in size]  # plain numbers, where a tracer hands in tensors
    rows, columns = (max(1, round(length * side / max(lengths))) for length in lengths)
    return rows, columns


def frame(image: Tensor, side: int) -> Tensor:
    """Scale (N, C, Y, X) so that the longer side is `side`, and append zeros to a square.

    Zero is the mean of prepared images; SAM pads with its mean too.
    """
    size = framed_size(image.shape[2:], side)
    if size != tuple(int(length) for length in image.shape[2:]):
        image = functional.interpolate(image, size=size, mode="bilinear", align_corners=False)
    missing = (side - size[0], side - size[1])
    return functional.pad(image, (0, missing[1], 0, missing[0])) if any(missing) else image


def _encoder(settings: SamSettings) -> nn.Module:
    if settings.size == "vit_t":
        from medcl.backbones.sam.tiny_vit import TinyViT

        return TinyViT()
    from transformers.models.sam.modeling_sam import SamVisionEncoder

    library: Any = SamVisionEncoder(vision_config(settings.size, settings.input_size))
    # The parts alone: a model of the library warns about itself when a tracer looks at its attributes.
    plain: Any = nn.Module()
    plain.config, plain.pos_embed = library.config, library.pos_embed
    plain.patch_embed, plain.layers, plain.neck = library.patch_embed, library.layers, library.neck
    return plain
