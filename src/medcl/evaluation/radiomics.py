"""Numbers that describe a scan without any network: brightness, texture, shape of the body, voxels.

With PyRadiomics (van Griethuysen et al., Cancer Research 77(21), 2017) they follow the IBSI reference manual
(Zwanenburg et al., Radiology 295(2), 2020). Without it, SimpleITK's statistics of labelled regions and the grey-level
co-occurrence of scikit-image take its place.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcl.data.geometry import Image
from medcl.errors import DataError, MissingExtraError, SettingsError

Library = Literal["auto", "pyradiomics", "simpleitk"]

LEVELS = 32
"""Grey levels of the texture features."""

_CLASSES = ("firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm")
_PLANES = 5  # slices whose texture is looked at, evenly spaced


def choose_library(wanted: Library = "auto") -> str:
    """Return which library computes the features: "pyradiomics" where it is installed, else "simpleitk".

    Raises:
        SettingsError: Unknown name.
        MissingExtraError: PyRadiomics is asked for and not installed.
    """
    if wanted not in ("auto", "pyradiomics", "simpleitk"):
        raise SettingsError(f"features: expected auto, pyradiomics or simpleitk, got '{wanted}'.")
    there = find_spec("radiomics") is not None
    if wanted == "pyradiomics" and not there:
        raise MissingExtraError("pyradiomics", "radiomics", "computing IBSI features")
    return "pyradiomics" if there and wanted != "simpleitk" else "simpleitk"


def scan_features(image: Image, *, library: str = "simpleitk", raw: bool = False) -> dict[str, float]:
    """Return features of a scan by name.

    Args:
        image: As read; several channels are averaged.
        library: As `choose_library` returned.
        raw: Keep intensities as they are (CT). Otherwise the 1st and 99th percentile become 0 and 100, because the
            units of MR mean nothing and would speak louder than everything else.

    Returns:
        Features of the body (voxels above Otsu's threshold), and voxel size and field of view in mm.

    Raises:
        DataError: Voxels that are no numbers, or infinite.
    """
    values = image.array.astype(np.float32).mean(0)
    wrong = int((~np.isfinite(values)).sum())
    if wrong:  # before any statistic: SimpleITK's median search never ends on them
        raise DataError(f"expected finite intensities, got {wrong} voxel(s) of NaN or infinity; repair the image.")
    low, high = (float(v) for v in np.percentile(values, (1, 99)))
    width = max(high - low, 1e-6)
    scaled = values if raw else np.clip((values - low) / width * 100, -50, 200)
    body = body_mask(values)
    spacing = image.geometry.spacing_mm
    found = _pyradiomics(scaled, body, spacing) if library == "pyradiomics" else _simpleitk(scaled, body, spacing)
    for axis, step, count in zip("zyx", spacing, values.shape, strict=True):
        found[f"voxel size {axis} (mm)"] = float(step)
        found[f"field of view {axis} (mm)"] = float(step * count)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def body_mask(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the voxels above Otsu's threshold (Z, Y, X); all of them where that leaves next to nothing."""
    import SimpleITK

    mask = SimpleITK.GetArrayFromImage(SimpleITK.OtsuThreshold(SimpleITK.GetImageFromArray(values), 0, 1)) > 0
    return mask if mask.sum() >= 64 else np.ones(values.shape, bool)


def _simpleitk(values: NDArray[np.float32], body: NDArray[np.bool_], spacing: tuple[float, ...]) -> dict[str, float]:
    import SimpleITK

    picture = SimpleITK.GetImageFromArray(values)
    mask = SimpleITK.GetImageFromArray(body.astype(np.uint8))
    for one in (picture, mask):
        one.SetSpacing([float(s) for s in reversed(spacing)])
    statistics = SimpleITK.LabelIntensityStatisticsImageFilter()
    statistics.ComputeFeretDiameterOff()
    statistics.Execute(mask, picture)
    found = {
        f"intensity {name}": float(getattr(statistics, f"Get{getter}")(1))
        for name, getter in (
            ("mean", "Mean"),
            ("median", "Median"),
            ("standard deviation", "StandardDeviation"),
            ("skewness", "Skewness"),
            ("kurtosis", "Kurtosis"),
            ("minimum", "Minimum"),
            ("maximum", "Maximum"),
        )
    }
    found |= {
        "body volume (ml)": float(statistics.GetPhysicalSize(1)) / 1000,
        "body roundness": float(statistics.GetRoundness(1)),
        "body elongation": float(statistics.GetElongation(1)),
    }
    inside = values[body]
    for percent in (5, 25, 75, 95):
        found[f"intensity percentile {percent}"] = float(np.percentile(inside, percent))
    shares = np.histogram(inside, LEVELS)[0] / len(inside)
    found["intensity entropy"] = float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())
    found["intensity uniformity"] = float(np.square(shares).sum())
    gradient = SimpleITK.GetArrayFromImage(SimpleITK.GradientMagnitude(picture))[body]
    laplacian = np.abs(SimpleITK.GetArrayFromImage(SimpleITK.Laplacian(picture)))[body]
    found |= {
        "gradient mean": float(gradient.mean()),
        "gradient standard deviation": float(gradient.std()),
        "gradient percentile 95": float(np.percentile(gradient, 95)),
        "second difference median": float(np.median(laplacian)),
    }
    return found | _cooccurrence(values, body)


def _cooccurrence(values: NDArray[np.float32], body: NDArray[np.bool_]) -> dict[str, float]:
    """Return grey-level co-occurrence features at a distance of one voxel, over four directions and some slices."""
    from skimage.feature import graycomatrix, graycoprops

    names = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")
    low, high = (float(v) for v in np.percentile(values[body], (0.5, 99.5)))
    binned = np.clip((values - low) / max(high - low, 1e-6) * (LEVELS - 1), 0, LEVELS - 1).astype(np.uint8) + 1
    binned[~body] = 0  # pairs with a voxel outside the body are dropped below
    rows = np.linspace(0, len(values) - 1, min(_PLANES, len(values))).round().astype(int)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    counts = sum(graycomatrix(binned[z], [1], angles, LEVELS + 1, symmetric=True).astype(np.float64) for z in rows)
    pairs = np.asarray(counts)[1:, 1:]
    if pairs.sum() == 0:
        return {}
    pairs = pairs / np.maximum(pairs.sum((0, 1), keepdims=True), 1)
    return {f"texture {name}": float(graycoprops(pairs, name).mean()) for name in names}


def _pyradiomics(values: NDArray[np.float32], body: NDArray[np.bool_], spacing: tuple[float, ...]) -> dict[str, float]:
    from importlib import import_module

    import SimpleITK

    module: Any = import_module("radiomics.featureextractor")
    logging.getLogger("radiomics").setLevel(logging.ERROR)  # its import sets the level too
    flat = values.shape[0] == 1 or spacing[0] > 1.5 * max(spacing[1:])
    extractor = module.RadiomicsFeatureExtractor(binCount=LEVELS, force2D=flat, force2Ddimension=0)
    extractor.disableAllFeatures()
    for name in _CLASSES:
        extractor.enableFeatureClassByName(name)
    picture, mask = SimpleITK.GetImageFromArray(values), SimpleITK.GetImageFromArray(body.astype(np.uint8))
    for one in (picture, mask):
        one.SetSpacing([float(s) for s in reversed(spacing)])
    result = extractor.execute(picture, mask)
    return {
        name.removeprefix("original_").replace("_", " "): float(value)
        for name, value in result.items()
        if name.startswith("original_")
    }
