"""Saliency over the image, slice by slice, with the outline of the structure and the curves of its scores."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from medcl.data.geometry import Image
    from medcl.inference.explain.run import Explanation

MOST_SLICES = 6


def overview(explanation: Explanation, image: Image) -> bytes:
    """Draw up to six slices, evenly spread over those with saliency, and the insertion and deletion curves.

    Blue: the answer rests on it; red: the answer would be better without it. One scale for all slices.

    Args:
        explanation: What to draw.
        image: The image that was explained.

    Returns:
        PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    saliency, mask = explanation.saliency, explanation.mask
    axis = _slice_axis(explanation)
    saliency, mask = np.moveaxis(saliency, axis, 0), np.moveaxis(mask, axis, 0)
    grey = np.moveaxis(np.asarray(image.array[0], float), axis, 0)
    spacing = [s for a, s in enumerate(explanation.geometry.spacing_mm) if a != axis]
    strength = np.abs(saliency).max(axis=(1, 2))
    order = np.flatnonzero(strength > 0)
    if len(order) > MOST_SLICES:
        order = order[np.linspace(0, len(order) - 1, MOST_SLICES).round().astype(int)]
    chosen = order.tolist() or [int(mask.sum(axis=(1, 2)).argmax())]
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    curves = bool(explanation.curves)
    figure = Figure(figsize=(3.2 * (columns + curves), 3.3 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, columns + curves)
    largest = float(np.abs(saliency).max()) or 1.0
    low, high = np.percentile(grey, (0.5, 99.5))
    rows_shown, columns_shown = _part(saliency, mask)
    shown = None
    for number, z in enumerate(chosen):
        panel = figure.add_subplot(grid[number // columns, number % columns])
        panel.imshow(
            grey[z][rows_shown, columns_shown],
            cmap="gray",
            vmin=low,
            vmax=max(high, low + 1e-9),
            aspect=spacing[0] / spacing[1],
        )
        values = saliency[z][rows_shown, columns_shown]
        shown = panel.imshow(
            values,
            cmap="RdBu",
            vmin=-largest,
            vmax=largest,
            alpha=np.clip(np.abs(values) / largest * 1.5, 0, 0.75),
            aspect=spacing[0] / spacing[1],
        )
        outline = mask[z][rows_shown, columns_shown]
        if outline.any() and min(outline.shape) > 1:
            panel.contour(outline.astype(float), levels=[0.5], colors="#f0e442", linewidths=1.0)
        panel.set_title(f"slice {z}", fontsize=9)
        panel.set_xticks([])
        panel.set_yticks([])
    if shown is not None:
        bar = figure.colorbar(shown, ax=figure.axes, shrink=0.5, location="left")
        bar.set_label("score lost without it" if explanation.method == "occlusion" else "saliency", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    if curves:
        panel = figure.add_subplot(grid[:, columns])
        shares = np.array(explanation.curves[0].shares) * 100
        for name, colour in (("insertion", "#0072b2"), ("deletion", "#d55e00")):
            mean = np.mean([getattr(curve, f"{name}_curve") for curve in explanation.curves], axis=0)
            panel.plot(shares, mean, color=colour, label=f"{name} {explanation.mean(name):.3f}")
        panel.set_xlabel("pixels, %, most salient first", fontsize=8)
        panel.set_ylabel(f"mean probability of {explanation.structure}", fontsize=8)
        panel.set_ylim(0, 1.02)
        panel.set_xscale("symlog", linthresh=1)
        panel.set_xlim(0, 100)
        panel.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        panel.tick_params(labelsize=7)
        panel.legend(fontsize=8)
    words = f"{explanation.structure}, {explanation.method}: {explanation.seconds:.1f} s"
    figure.suptitle(words, fontsize=10)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": "medcl"})
    return stream.getvalue()


def _slice_axis(explanation: Explanation) -> int:
    """Return the axis with the widest spacing, else the first: what people look through."""
    spacing = np.array(explanation.geometry.spacing_mm)
    return int(spacing.argmax()) if spacing.max() > 1.5 * spacing.min() else 0


def _part(saliency: np.ndarray, mask: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns with saliency or structure in any slice, with half of their extent as margin."""
    where = ((np.abs(saliency) > 0.02 * np.abs(saliency).max(initial=0.0)) | mask).any(axis=0)
    found = []
    for axis in (0, 1):
        places = np.flatnonzero(where.any(axis=1 - axis))
        if not len(places):
            return slice(None), slice(None)
        margin = max(8, int(places[-1] - places[0]) // 2)
        found.append(slice(max(0, int(places[0]) - margin), int(places[-1]) + 1 + margin))
    return found[0], found[1]
