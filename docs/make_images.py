"""Draw docs/images from what `medcl demo` wrote (made-up hearts only): `python docs/make_images.py demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from medcl import Dataset
from medcl.data.io import read_map

COLOURS = ListedColormap(["#8f8f8f", "#4c8fe0", "#f2a33a", "#e0524c"])  # background stroke, RV, Myo, LV


def show(axes: plt.Axes, title: str, image: np.ndarray, classes: np.ndarray, shown: np.ndarray) -> None:
    """Draw one slice (Y, X) with the classes of the shown pixels on top."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=float(np.percentile(image, 99.5)))
    axes.imshow(np.ma.masked_where(~shown, classes), cmap=COLOURS, vmin=0, vmax=3, alpha=0.65, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def main(folder: Path) -> None:
    """Draw overview.png: strokes, the mask of a new heart, its dense label."""
    dataset = Dataset.open(folder / "data")
    drawn, new = dataset.cases("Tr")[0], dataset.cases("Ts")[0]
    scribble, label = dataset.read_scribble(drawn), dataset.read_label(new)
    mask, _ = read_map(folder / "masks" / new.label.name)
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6), layout="constrained")
    middle = scribble.shape[0] // 2
    show(axes[0], "what you draw", dataset.read_image(drawn).array[0, middle], scribble[middle], scribble[middle] >= 0)
    image = dataset.read_image(new).array[0, middle]
    show(axes[1], "what medcl finds in a new heart", image, mask[middle], mask[middle] > 0)
    show(axes[2], "dense label, for comparison", image, label[middle], label[middle] > 0)
    out = Path(__file__).parent / "images" / "overview.png"
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make_images.py DEMO_FOLDER")
    main(Path(sys.argv[1]))
