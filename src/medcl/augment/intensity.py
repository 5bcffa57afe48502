"""Random changes of brightness, contrast, gamma, bias field, blur and noise; strokes stay as they are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from medcl.batch import Batch
from medcl.settings import AugmentSettings


def intensity(batch: Batch, settings: AugmentSettings, generator: torch.Generator) -> Batch:
    """Change the grey values of each sample at random.

    Args:
        batch: N normalised samples (about mean 0, standard deviation 1).
        settings: Strengths, and the chance of each change.
        generator: Source of randomness, on the CPU.

    Returns:
        The same samples with changed images.
    """
    image = batch.image
    count, _channels, *size = image.shape
    each = (count, 1, *(1,) * len(size))

    def draw(strength: float, *, signed: bool = True) -> Tensor:
        value = torch.rand(count, generator=generator)
        value = (value * 2 - 1 if signed else value) * strength
        used = torch.rand(count, generator=generator) < settings.probability
        return (value * used).reshape(each).to(image.device)

    if settings.bias_field:
        coarse = torch.randn(count, 1, *(min(3, s) for s in size), generator=generator).to(image.device)
        field = functional.interpolate(coarse, size=size, mode=_SMOOTH[len(size)], align_corners=True)
        low = image.amin(dim=tuple(range(1, image.ndim)), keepdim=True)
        image = (image - low) * (1 + draw(settings.bias_field, signed=False) * field.clamp(-2, 2) / 2) + low
    if settings.gamma:
        flat = image.flatten(1)
        low, high = (v.reshape(each) for v in (flat.amin(1), flat.amax(1)))
        span = (high - low).clamp(min=1e-6)
        unit = ((image - low) / span).clamp(1e-6, 1)
        image = unit ** torch.exp(draw(settings.gamma)) * span + low
    if settings.contrast:
        image = image * (1 + draw(settings.contrast))
    if settings.brightness:
        image = image + draw(settings.brightness)
    if settings.blur:
        image = _blur(image, draw(settings.blur, signed=False).flatten())
    if settings.noise:
        image = image + torch.randn(image.shape, generator=generator).to(image.device) * draw(
            settings.noise, signed=False
        )
    return replace(batch, image=image)


_SMOOTH = {2: "bilinear", 3: "trilinear"}


def _blur(image: Tensor, sigma_px: Tensor) -> Tensor:
    """Blur each sample in the (Y, X) plane by its own sigma, with five taps per axis."""
    taps = torch.arange(-2, 3, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (taps / sigma_px.clamp(min=1e-2)[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    count, channels, *size = image.shape
    depth = size[0] if len(size) == 3 else 1
    planes = image.reshape(1, count * channels * depth, *size[-2:])
    per_plane = kernel.repeat_interleave(channels * depth, dim=0)
    planes = functional.pad(planes, (2, 2, 2, 2), mode="replicate")
    planes = functional.conv2d(planes, per_plane[:, None, :, None], groups=planes.shape[1])
    planes = functional.conv2d(planes, per_plane[:, None, None, :], groups=planes.shape[1])
    return planes.reshape(image.shape)
