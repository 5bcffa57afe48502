"""Encoders of segmentation_models_pytorch by name, as an extra."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from medcl.backbones import backbones
from medcl.backbones.layers import crop_to, pad_to, start_undecided
from medcl.backbones.optional import let_torchvision_import, need
from medcl.backbones.weights import WithWeights
from medcl.errors import SettingsError, unknown_name


@backbones.register("smp")
class SmpSettings(WithWeights):
    """An encoder and decoder of segmentation_models_pytorch (Iakubovskii, 2019), in 2D, starting from scratch."""

    dims: ClassVar[tuple[int, ...]] = (2,)

    encoder: str = Field("resnet18", description="Name of an encoder of segmentation_models_pytorch.")
    decoder: Literal["unet", "unetplusplus", "manet", "linknet", "fpn", "deeplabv3plus"] = Field(
        "unet", description="Decoder of segmentation_models_pytorch."
    )

    def build(self, *, in_channels: int, classes: int, ndim: int) -> SmpNetwork:
        """Return the network for 2D images.

        Raises:
            MissingExtraError: segmentation_models_pytorch is not installed.
            SettingsError: It knows no encoder of this name; lists those it knows.
        """
        let_torchvision_import()
        library: Any = need("segmentation_models_pytorch", extra="smp", backbone="smp")
        known = library.encoders.get_encoder_names()
        if self.encoder not in known and not self.encoder.startswith("tu-"):  # tu-: any encoder of timm
            raise SettingsError(f"backbone 'smp': {unknown_name('encoder', self.encoder, known)}")
        # No weights from the network: `weights` names a file.
        network = library.create_model(
            self.decoder, encoder_name=self.encoder, encoder_weights=None, in_channels=in_channels, classes=classes
        )
        start_undecided(network.segmentation_head[0])
        return SmpNetwork(network)


class SmpNetwork(nn.Module):
    """A network of segmentation_models_pytorch that takes any image size.

    Args:
        network: (N, C, Y, X) with sides that are multiples of its largest stride -> logits.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        stride = getattr(getattr(network, "encoder", None), "output_stride", 32)
        self.whole = max(32, int(stride))

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, Y, X) to logits (N, classes, Y, X)."""
        return crop_to(self.network(pad_to(image, (self.whole, self.whole))), image.shape[2:])
