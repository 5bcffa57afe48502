"""How a scanner sees anatomy: texture, coil sensitivity, limited resolution and noise."""

from __future__ import annotations

import numpy as np

from medcl.phantom.canvas import Canvas, Rng, smooth_noise


def texture(rng: Rng, size: tuple[int, int, int], strength: float) -> np.ndarray:
    """Multiplicative tissue texture: fine grain plus coarser patches.

    Args:
        rng: Source of randomness.
        size: (z, y, x).
        strength: Standard deviation of the relative change.

    Returns:
        (Z, Y, X) float32 around 1, never below 0.2.
    """
    fine = smooth_noise(rng, size, (0.0, 0.8, 0.8))
    coarse = smooth_noise(rng, size, (0.6, 4.0, 4.0))
    return np.maximum(1 + strength * (0.6 * fine + 0.8 * coarse), 0.2).astype(np.float32)


def bias_field(rng: Rng, canvas: Canvas, strength: float, coil: tuple[float, float] | None = None) -> np.ndarray:
    """Smooth multiplicative field: a random quadratic polynomial, and a surface coil that brightens its side.

    Args:
        rng: Source of randomness.
        canvas: Gives the positions.
        strength: Size of the log field; 0 gives ones.
        coil: Position (y, x) of a surface coil in mm, or None.

    Returns:
        (Z, Y, X) float32, mean 1.
    """
    reach = np.float32(max(float(np.abs(canvas.x).max()), float(np.abs(canvas.y).max())))
    y, x, z = canvas.y / reach, canvas.x / reach, canvas.z / np.float32(60.0)
    weights = rng.normal(0, 0.5, 6).astype(np.float32)
    log = weights[0] * y + weights[1] * x + weights[2] * y * x + weights[3] * y * y + weights[4] * x * x
    log = log + 0.3 * weights[5] * z
    if coil is not None:
        away = np.sqrt((canvas.y - coil[0]) ** 2 + (canvas.x - coil[1]) ** 2) / reach
        log = log + np.float32(rng.uniform(0.8, 1.8)) * np.exp(-2 * away)
    field = np.exp(np.float32(strength) * log)
    return np.asarray(field / field.mean(), np.float32)


def mr_acquisition(rng: Rng, image: np.ndarray, noise: float, resolution: float) -> np.ndarray:
    """Slice-wise MR acquisition: k-space is cut to its centre, noised and zero-filled; the magnitude is returned.

    Cutting gives Gibbs ringing and zero-filling correlated noise; the magnitude of complex Gaussian noise is Rician
    (Gudbjartsson and Patz, Magn Reson Med 34(6), 1995).

    Args:
        rng: Source of randomness.
        image: (Z, Y, X) float32, not negative.
        noise: Standard deviation of the noise in the image, per real and imaginary part, in units of the image.
        resolution: Share of k-space kept per in-plane axis, in (0, 1].

    Returns:
        (Z, Y, X) float32.
    """
    from scipy import fft

    height, width = image.shape[1:]
    spectrum = fft.fft2(image.astype(np.complex64), axes=(1, 2))
    keep_y = np.abs(fft.fftfreq(height)) <= 0.5 * resolution
    keep_x = np.abs(fft.fftfreq(width)) <= 0.5 * resolution
    keep = keep_y[:, None] & keep_x[None, :]
    # White noise on a share of k-space loses that share of its power: scale so that `noise` holds in the image.
    scale = noise * np.sqrt(height * width / max(float(keep.mean()), 1e-6))
    real, imaginary = rng.standard_normal((2, *image.shape), dtype=np.float32)
    spectrum = (spectrum + np.float32(scale) * (real + 1j * imaginary)) * keep
    return np.abs(fft.ifft2(spectrum, axes=(1, 2))).astype(np.float32)


def ct_acquisition(rng: Rng, image: np.ndarray, noise: float) -> np.ndarray:
    """CT as it looks: smoothed by the reconstruction kernel, with correlated noise in Hounsfield units.

    Args:
        rng: Source of randomness.
        image: (Z, Y, X) float32 in HU.
        noise: Standard deviation of the noise in HU.

    Returns:
        (Z, Y, X) float32 in HU, not below -1024.
    """
    from scipy.ndimage import gaussian_filter

    size = (image.shape[0], image.shape[1], image.shape[2])
    grain = 0.8 * smooth_noise(rng, size, (0.0, 0.7, 0.7)) + 0.3 * smooth_noise(rng, size, (0.3, 2.0, 2.0))
    return np.maximum(gaussian_filter(image, (0, 0.5, 0.5)) + noise * grain, -1024).astype(np.float32)
