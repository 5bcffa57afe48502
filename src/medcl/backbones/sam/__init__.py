"""Segment Anything (SAM) as a backbone: image encoder and mask decoder of `transformers`, one mask token per class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from medcl.backbones import backbones
from medcl.backbones.weights import WithWeights

if TYPE_CHECKING:
    from torch import nn

    from medcl.backbones.sam.network import SamNetwork


@backbones.register("sam")
class SamSettings(WithWeights):
    """SAM (Kirillov et al., ICCV 2023) without prompts, one mask token per class (SAMed, Zhang and Liu, 2023). 2D only.

    Images of any size are scaled so that their longer side is `input_size`, and padded with zeros to a square; logits
    come back at the size of the image. One channel is shown three times, three are taken as they are, and of other
    numbers each of the three is the mean of neighbouring channels, as a 1 x 1 convolution that is trained along.
    """

    has_branches: ClassVar[bool] = True
    dims: ClassVar[tuple[int, ...]] = (2,)
    learning_rate: ClassVar[float] = 1e-3  # peak where none is set: attention does not bear the U-Net's

    size: Literal["tiny", "vit_t", "vit_b", "vit_l", "vit_h"] = Field(
        "vit_b", description="Encoder: SAM's base, large or huge ViT, MobileSAM's TinyViT (vit_t), or a tiny ViT."
    )
    input_size: int = Field(
        256, ge=32, le=2048, multiple_of=32, description="Side of the square that the encoder sees; SAM's own is 1024."
    )
    tune: Literal["lora", "adapter", "decoder", "full"] | None = Field(
        None,
        description="What is trained: low-rank updates of queries and values, a small adapter in each block, the mask "
        "decoder alone, or everything. Default: lora where weights are given, full without.",
    )
    rank: int = Field(4, ge=1, description="Rank of the low-rank updates.")
    alpha: float = Field(4.0, gt=0, description="Strength of the low-rank updates; they count alpha / rank.")
    adapter: Literal["bottleneck", "sam-med2d"] | None = Field(
        None,
        description="Branch beside each block's MLP: two linear layers, or SAM-Med2D's gated convolutions, which its "
        "file of weights needs. Default: bottleneck where adapters are trained, else none.",
    )
    adapter_ratio: float = Field(0.25, gt=0, le=1, description="Width of an adapter as a share of the block's.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Settle the defaults that depend on others: a saved model no longer names its file of weights."""
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        if filled.get("tune") is None:
            filled["tune"] = "lora" if filled.get("weights") else "full"
        if filled.get("adapter") is None and filled["tune"] == "adapter":
            filled["adapter"] = "bottleneck"
        return filled

    @model_validator(mode="after")
    def _fits(self) -> SamSettings:
        if self.adapter == "sam-med2d" and self.size == "vit_t":
            raise ValueError("adapter: expected bottleneck for vit_t, as SAM-Med2D has adapters in a ViT only")
        return self

    @property
    def needs_weights(self) -> str | None:
        """Why training must start from a file of weights, and what to do without one; None where it need not."""
        if self.size != "tiny":
            return f"a {self.size} learns too little from a few images; or set backbone.size=tiny backbone.tune=full"
        return None if self.tune == "full" else "parts of it are not trained; or set backbone.tune=full"

    @property
    def frozen_encoder(self) -> bool:
        """Whether the features of an image never change during training."""
        return self.tune == "decoder"

    def build(self, *, in_channels: int, classes: int, ndim: int) -> SamNetwork:
        """Return the network for 2D images.

        Raises:
            SettingsError: Asked for 3D.
            MissingExtraError: transformers or peft is not installed.
        """
        from medcl.backbones.sam.network import build_sam

        return build_sam(self, in_channels=in_channels, classes=classes, ndim=ndim)

    def load(self, network: nn.Module, *, in_channels: int, classes: int) -> list[str]:
        """Put pretrained weights of any known layout into a network of these settings.

        Args:
            network: What `build` returned.
            in_channels: Channels of the image; every number of channels goes with the same file.
            classes: Channels of the logits; each starts as SAM's single-mask token.

        Returns:
            What was done, in words.

        Raises:
            ModelError: The file cannot be read or does not fit; lists what differs.
        """
        from medcl.backbones.sam.start import start_from

        assert self.weights is not None
        return start_from(network, self.weights, self, in_channels=in_channels, classes=classes)
