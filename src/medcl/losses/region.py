"""Even regions: the pixels of a class should look alike.

Both losses compare each pixel's intensity with the mean intensity of each class in its own image; they need no
annotation and say nothing about which region is which class.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medcl.losses.total_variation import total_variation


def standardised(image: Tensor) -> Tensor:
    """Return images with mean 0 and standard deviation 1 per sample and channel.

    Losses that compare intensities use it so that their weights and widths mean the same whatever the plan's
    normalisation and the augmentation did. A constant channel becomes 0.

    Args:
        image: (N, channels, *S).
    """
    values = image.float()
    axes = tuple(range(2, values.ndim))
    centred = values - values.mean(dim=axes, keepdim=True)
    deviation = centred.square().mean(dim=axes, keepdim=True).sqrt()
    return centred / torch.where(deviation > 1e-6, deviation, torch.inf)


def intensity_variance(probabilities: Tensor, image: Tensor, *, eps: float = 1.0) -> Tensor:
    """Variance of the intensity inside each predicted class, mean over samples and classes.

    Source: derived, after the intra-class variance that the WSL4MIS collection (Luo et al.) adds to partial
    cross-entropy: the variance with the class probabilities as weights,
    v_c = sum_i p_ic |x_i - m_c|^2 / sum_i p_ic, m_c = sum_i p_ic x_i / sum_i p_ic, as in the region term of Chan and
    Vese, IEEE TIP 2001 (WSL4MIS takes the deviation of x p_c over *all* pixels, which also grows with the size of the
    class).

    Args:
        probabilities: (N, C, *S), sum 1 over C.
        image: (N, channels, *S); several channels add up.
        eps: Added to each class's size in pixels, so that a class of less than a pixel hardly counts.

    Returns:
        Scalar >= 0, in squared units of the image.
    """
    size, spread = _sizes_and_spreads(probabilities, image)
    return (spread / (size + eps)).mean()


def mumford_shah(probabilities: Tensor, image: Tensor, *, length: float = 1.0) -> Tensor:
    """Piecewise constant Mumford-Shah energy of a soft segmentation, per pixel.

    Source: Kim and Ye, IEEE TIP 29:1856-1866 (2020), loss L_MScnn of section III: sum_n int |x - c_n|^2 y_n dr +
    lambda sum_n int |grad y_n| dr with c_n = int x y_n dr / int y_n dr, y the softmax output. The integrals are means
    over pixels here, so that lambda does not depend on the image size; the gradient is that of `total_variation`.

    Args:
        probabilities: (N, C, *S), sum 1 over C.
        image: (N, channels, *S); several channels add up.
        length: The factor lambda of the outline.

    Returns:
        Scalar >= 0.
    """
    _, spread = _sizes_and_spreads(probabilities, image)
    pixels = probabilities[0, 0].numel()
    return spread.sum(dim=1).mean() / pixels + length * total_variation(probabilities)


def _sizes_and_spreads(probabilities: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum_i p_ic and sum_i p_ic |x_i - m_c|^2, each (N, C)."""
    weights, values = probabilities.float().flatten(2), image.float().flatten(2)
    size = weights.sum(dim=2)
    spread = torch.zeros_like(size)
    for channel in values.split(1, dim=1):  # one at a time: (N, C, pixels) is the largest array needed
        # The spread is smallest at the mean, where its derivative is 0: leaving the mean out of the gradient is exact.
        mean = ((weights * channel).sum(dim=2) / size.clamp(min=1e-12)).detach()
        spread = spread + (weights * (channel - mean[:, :, None]).square()).sum(dim=2)
    return size, spread
