"""The hand: what becomes of a line when a person draws it. It is cut, has gaps, is rounded off and wanders."""

from __future__ import annotations

import numpy as np

from medcl.scribbles.settings import ScribbleSettings

STEP = 0.5
"""Distance between the points of a drawn line in units: less than a pixel, so that the pen leaves no gaps."""


def draw_by_hand(
    rng: np.random.Generator, line: np.ndarray, settings: ScribbleSettings, *, closed: bool, wander: float
) -> list[np.ndarray]:
    """Turn a line somebody means to draw into the lines that the pen leaves.

    Args:
        rng: Source of randomness.
        line: (N, 2) points in units.
        settings: How the person draws: length, gaps.
        closed: Whether the line's end meets its start; it is then opened anywhere, and may run past its start.
        wander: Mean sideways displacement in units.

    Returns:
        Lines (M, 2) with points `STEP` apart, one per stroke of the pen, in the order drawn.
    """
    path = resample(np.concatenate([line, line[:1]]) if closed else line)
    if len(path) < 6:
        return [path]
    share = float(np.clip(rng.normal(settings.length, settings.length_spread), 0.2, 1.5 if closed else 1.0))
    count = max(3, round(share * len(path)))
    path = smooth(path, min(6.0, len(path) / 8), closed=closed)
    if closed:
        order = int(rng.integers(len(path))) + np.arange(count)
        path = path[order % len(path)]
    else:
        start = int(rng.integers(len(path) - count + 1))
        path = path[start : start + count]
    if rng.random() < 0.5:
        path = path[::-1]
    if wander > 0:
        path = path + wander * slow_noise(rng, len(path))
    return _break(rng, path, settings)


def resample(line: np.ndarray, step: float = STEP) -> np.ndarray:
    """Return points at equal distances of about `step` along a line (N, 2); a point stays one point."""
    if len(line) < 2:
        return line
    along = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(line, axis=0) ** 2).sum(axis=1)))])
    if along[-1] <= 0:
        return line[:1]
    at = np.linspace(0, along[-1], max(2, int(np.ceil(along[-1] / step)) + 1))
    return np.stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])], axis=1)


def smooth(line: np.ndarray, points: float, *, closed: bool = False) -> np.ndarray:
    """Round off a line (N, 2) by a Gaussian of a standard deviation in points; open ends stay in their place."""
    from scipy.ndimage import gaussian_filter1d

    if points <= 0 or len(line) < 3:
        return line
    found: np.ndarray = gaussian_filter1d(line, points, axis=0, mode="wrap" if closed else "nearest", truncate=3.0)
    return found


def slow_noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return noise (count, 2) of unit size that changes slowly along a line, as a hand wanders."""
    knots = int(np.clip(count // 24, 2, 12))  # a hand corrects itself every dozen pixels or so
    values = rng.standard_normal((knots + 3, 2))
    at = np.linspace(1, knots + 1, count)
    low = at.astype(np.intp).clip(max=knots)
    t = (at - low)[:, None]
    # uniform cubic B-spline: smooth, and quicker than filtering noise of every point
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    spline: np.ndarray = np.sum([w * values[low - 1 + k] for k, w in enumerate(weights)], axis=0) / 6
    return 1.4 * spline  # a B-spline of unit noise has a standard deviation of about 0.7


def _break(rng: np.random.Generator, path: np.ndarray, settings: ScribbleSettings) -> list[np.ndarray]:
    """Take gaps out of a line, as when the pen is lifted (ScribblePrompt breaks lines by random masks)."""
    number = int(rng.poisson(settings.breaks)) if settings.breaks > 0 else 0
    if number == 0 or len(path) < 12:
        return [path]
    kept = np.ones(len(path), bool)
    for _ in range(number):
        gap = max(3, round(settings.gap * float(rng.uniform(0.5, 1.5)) * len(path)))
        start = int(rng.integers(-gap // 2, len(path)))
        kept[max(start, 0) : start + gap] = False
    return [path[run] for run in runs(kept) if run.stop - run.start >= 4] or [path]


def runs(kept: np.ndarray) -> list[slice]:
    """Return the stretches of True in a boolean sequence, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
    return [slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def length_of(line: np.ndarray) -> float:
    """Return the length of a line (N, 2)."""
    return float(np.sqrt((np.diff(line, axis=0) ** 2).sum(axis=1)).sum()) if len(line) > 1 else 0.0
