"""From what a network sees of a slice or window to short vectors that can be compared with those of training."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medcl.inference.familiarity.features import Unit

    Vector = NDArray[np.float64]

BANDS = 8
"""Rings of the power spectrum."""

_GHOSTS = (2, 3, 4, 5)
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def describe(unit: Unit) -> dict[str, Vector]:
    """Return all descriptions of a unit by name.

    Returns:
        `fine`, `middle`, `deep`: mean and standard deviation per channel of an encoder's second, middle and last but
        one level. `image`: brightness, gradients, noise, power spectrum and ghosts. `answer`: what is predicted:
        shares, entropy, where the classes lie about each other. `queries`: the network's own score, where it has one.
    """
    levels = unit.levels
    chosen = {"fine": min(1, len(levels) - 1), "middle": len(levels) // 2, "deep": max(0, len(levels) - 2)}
    found = {name: _pooled(levels[index]) for name, index in chosen.items()}
    found["image"] = np.concatenate([image_statistics(channel) for channel in unit.image])
    found["answer"] = answer_statistics(unit.probabilities)
    if unit.strange is not None:
        sample = _thinned(unit.strange.flatten())
        found["queries"] = torch.quantile(sample, sample.new_tensor([0.5, 0.9, 0.99])).double().cpu().numpy()
    return found


def _thinned(values: Tensor) -> Tensor:
    """Return at most about 20000 of the values: quantiles need no more, and cost as much as a network otherwise."""
    return values[:: max(1, values.numel() // 20_000)]


def _pooled(features: Tensor) -> Vector:
    flat = features.flatten(1)
    return torch.cat((flat.mean(1), flat.std(1, correction=0))).double().cpu().numpy()


def image_statistics(image: Tensor) -> Vector:
    """Return low-level statistics of an image (Y, X) or (Z, Y, X), normalised as networks see it.

    Quantiles of brightness; of the gradient's size; robust noise of the diagonal second difference (Immerkaer, CVIU
    64(2), 1996, with the median in the place of the mean); logarithm of the power in `BANDS` rings of the spectrum, and
    along y against along x; how uneven neighbouring lines of k-space are; ghosts: how much edges look like the edges
    half, a third, a quarter and a fifth of the image away, along y and x; the strongest local contrast.
    """
    planes = image[None] if image.ndim == 2 else image
    planes = planes.float()
    quantiles = torch.tensor(_QUANTILES, device=planes.device)
    sample = _thinned(planes.flatten())
    dy = (planes[:, 1:, :-1] - planes[:, :-1, :-1]) if planes.shape[1] > 1 else planes[:, :, :-1]
    dx = (planes[:, :-1, 1:] - planes[:, :-1, :-1]) if planes.shape[1] > 1 else planes[:, :, 1:] - planes[:, :, :-1]
    size = _thinned(torch.hypot(dy, dx).flatten()) if dy.numel() else planes.new_zeros(1)
    mask = planes.new_tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    noise = functional.conv2d(functional.pad(planes[:, None], (1, 1, 1, 1), mode="replicate"), mask).abs().flatten()
    noise = _thinned(noise)
    values = [
        torch.quantile(sample, quantiles),
        torch.log(torch.quantile(size, quantiles) + 1e-3),
        torch.log(torch.quantile(noise, torch.tensor([0.1, 0.25, 0.5], device=planes.device)) / 6 + 1e-4),
        _spectrum(planes),
        _ghosts(planes),
        _local_contrast(planes),
    ]
    return torch.cat(values).double().cpu().numpy()


def _spectrum(planes: Tensor) -> Tensor:
    """Log mean power per ring, (y - x) per ring pair, and the peakedness of the marginal spectra."""
    height, width = planes.shape[1:]
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)[None]
    power = (
        torch.fft.fft2((planes - planes.mean((1, 2), keepdim=True)) * window.to(planes.device)).abs().square().mean(0)
    )
    power = power / (height * width)
    fy = torch.fft.fftfreq(height, device=planes.device).abs()[:, None]
    fx = torch.fft.fftfreq(width, device=planes.device).abs()[None]
    radius = torch.hypot(fy, fx)
    edges = torch.logspace(-2, -0.301, BANDS + 1, base=10.0)
    edges[0] = 0
    rings, turns = [], []
    for low, high in pairwise(edges):
        ring = (radius >= low) & (radius < high)
        rings.append(_log_mean(power[ring]))
        up, side = ring & (fy > 2 * fx), ring & (fx > 2 * fy)
        turns.append(_log_mean(power[up]) - _log_mean(power[side]))
    peaks = [_peakedness(power.mean(1)), _peakedness(power.mean(0))]
    return torch.stack([*rings, *turns, *peaks])


def _ghosts(planes: Tensor) -> Tensor:
    """Correlation of edges with edges a whole fraction of the field of view away: (4 fractions along y, 4 along x).

    Where every n-th line of k-space is off, copies of the image appear at a distance of 1/n of the field of view.
    Derived; the autocorrelation is the inverse transform of the power of the high-passed image.
    """
    height, width = planes.shape[1:]
    if min(height, width) < 16:
        return planes.new_zeros(2 * len(_GHOSTS))
    edges = planes - functional.avg_pool2d(planes[:, None], 5, 1, 2, count_include_pad=False)[:, 0]
    power = torch.fft.rfft2(edges).abs().square().mean(0)
    likeness = torch.fft.irfft2(power, s=(height, width))
    likeness = likeness / likeness[0, 0].clamp(min=1e-9)
    found = []
    for line in (likeness[:, 0], likeness[0]):
        for parts in _GHOSTS:
            at = round(len(line) / parts)
            around = line[max(3, at - 6) : at + 7]
            found.append(line[at - 1 : at + 2].amax() - around.median())
    return torch.log(torch.stack(found).clamp(min=0) + 1e-3)


def _local_contrast(planes: Tensor) -> Tensor:
    """Log of the largest standard deviation within 5 x 5 pixels: its highest per mille and its highest per cent."""
    mean = functional.avg_pool2d(planes[:, None], 5, 1, 2, count_include_pad=False)
    square = functional.avg_pool2d(planes[:, None] ** 2, 5, 1, 2, count_include_pad=False)
    spread = (square - mean**2).clamp(min=0).sqrt().flatten()
    ordered = spread.topk(max(1, len(spread) // 100)).values
    return torch.log(torch.stack([ordered[: max(1, len(spread) // 1000)].mean(), ordered.mean()]) + 1e-3)


def _log_mean(values: Tensor) -> Tensor:
    return torch.log(values.mean() + 1e-8) if values.numel() else values.new_zeros(()).log1p()


def _peakedness(line: Tensor) -> Tensor:
    """Mean step between neighbouring lines of a log spectrum: periodic gaps of k-space make it large."""
    log = torch.log(line[1 : len(line) // 2] + 1e-8)
    return (log[1:] - log[:-1]).abs().mean() if len(log) > 1 else line.new_zeros(())


def answer_statistics(probabilities: Tensor) -> Vector:
    """Return what a prediction (classes, *S) looks like, without any label.

    Entropy over the image and where structures are predicted; how sure the structures are; per class the share of the
    structures it takes, where its middle lies about the middle of all (in units of their extent) and how wide it is.
    A class with nearly nothing predicted has zeros.
    """
    p = probabilities.float()
    p = p if p.ndim == 4 else p[:, None]
    entropy = -(p * torch.log(p.clamp(min=1e-9))).sum(0) / np.log(p.shape[0])
    front = p[1:]
    mass = front.sum((1, 2, 3))
    total = mass.sum()
    inside = front.sum(0)
    sure = (entropy * inside).sum() / total.clamp(min=1e-6)
    pixels = entropy.numel()
    edge = (front.amax(0) > 0.5).float().sum().clamp(min=1).sqrt()
    values = [entropy.mean() * pixels**0.5 / edge, sure, torch.log(total + 1.0)]
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32, device=p.device) for n in p.shape[2:]), indexing="ij")
    extent = total.clamp(min=4).sqrt()
    centre_y, centre_x = (inside * y).sum() / total.clamp(min=1e-6), (inside * x).sum() / total.clamp(min=1e-6)
    for c, own in zip(front, mass, strict=True):
        trust = own / (own + 4.0)  # so that a few stray pixels do not have a middle
        my, mx = (c * y).sum() / own.clamp(min=1e-6), (c * x).sum() / own.clamp(min=1e-6)
        vy, vx = (c * (y - my) ** 2).sum() / own.clamp(min=1e-6), (c * (x - mx) ** 2).sum() / own.clamp(min=1e-6)
        values += [
            own / total.clamp(min=1e-6) * trust,
            (my - centre_y) / extent * trust,
            (mx - centre_x) / extent * trust,
            torch.sqrt(vy + vx) / own.clamp(min=4).sqrt() * trust,
        ]
    return torch.stack([v if isinstance(v, Tensor) else torch.tensor(v) for v in values]).double().cpu().numpy()
