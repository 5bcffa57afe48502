"""Made-up downloads with the official names: what an importer reads, and what must arrive."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

DIRECTION = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)  # oblique: a header that is dropped shows
SPACING, ORIGIN = (1.25, 1.5, 4.0), (-20.5, 31.25, 7.0)  # (x, y, z)
SIZE = (4, 24, 20)  # (z, y, x)


@dataclass
class Made:
    """One case that must arrive: arrays are (C, Z, Y, X) and (Z, Y, X) of class indices, -1 where nobody looked."""

    split: str
    image: np.ndarray
    label: np.ndarray | None = None
    scribble: np.ndarray | None = None


@dataclass
class Tree:
    """A download: what it holds, a label to damage and a file that must not be missing."""

    cases: dict[str, Made] = field(default_factory=dict)
    label: Path = Path()
    needed: Path = Path()
    options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


def volume(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Make an image and a label in which every class has a box of its own."""
    rng = np.random.default_rng(seed)
    label = np.zeros(SIZE, np.int16)
    for index in range(1, classes + 1):
        row, column = divmod(index - 1, 4)
        label[1:, 2 + 5 * row : 6 + 5 * row, 1 + 4 * column : 4 + 4 * column] = index
    image = rng.normal(100, 20, SIZE) + 30 * label
    return np.rint(image).astype(np.int16), label


def strokes(label: np.ndarray, seed: int) -> np.ndarray:
    """Draw one row of every structure, with gaps of its own in every case, and a frame of background."""
    drawn = np.full_like(label, -1)
    drawn[:, 0], drawn[:, -1], drawn[:, :, 0], drawn[:, :, -1] = 0, 0, 0, 0
    inner = (label > 0) & (np.arange(label.shape[1]) % 5 == 4)[:, None]
    drawn[inner] = label[inner]
    drawn[np.random.default_rng(seed).random(label.shape) < 0.1] = -1
    return drawn


def save(path: Path, array: np.ndarray, *, plain: bool = False) -> Path:
    """Write (Z, Y, X) or (C, Z, Y, X) with SimpleITK; `plain` keeps the spacing alone, as the published strokes do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = [_image(channel, plain) for channel in (array if array.ndim == 4 else array[None])]
    SimpleITK.WriteImage(SimpleITK.JoinSeries(channels) if array.ndim == 4 else channels[0], str(path))
    return path


def _image(array: np.ndarray, plain: bool = False) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    if not plain:
        image.SetOrigin(ORIGIN)
        image.SetDirection(DIRECTION)
    return image


def mapped(label: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
    """Turn class indices into the values of a source."""
    result = np.zeros(label.shape, np.int16)
    for index, value in values.items():
        result[label == index] = value
    return result


def acdc(root: Path, *, drawn: bool = False) -> Tree:
    tree = Tree(classes=("RV", "Myo", "LV"))
    for seed, (person, part, frames) in enumerate(
        [("patient001", "training", (1, 12)), ("patient002", "training", (1, 9)), ("patient101", "testing", (1, 14))]
    ):
        folder = root / "database" / part / person
        folder.mkdir(parents=True)
        ed, es = frames
        (folder / "Info.cfg").write_text(
            f"ED: {ed}\nES: {es}\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n", encoding="utf-8"
        )
        (folder / "MANDATORY_CITATION.md").write_text("cite", encoding="utf-8")
        save(folder / f"{person}_4d.nii.gz", np.zeros((2, *SIZE), np.int16))
        for frame in frames:
            image, label = volume(100 * seed + frame, 3)
            case = f"{person}_frame{frame:02d}"
            tree.needed = save(folder / f"{case}.nii.gz", image)
            tree.label = save(folder / f"{case}_gt.nii.gz", label.astype(np.uint8))
            made = tree.cases[case] = Made("Tr" if part == "training" else "Ts", image[None], label)
            if drawn and part == "training":
                made.scribble = strokes(label, 100 * seed + frame)
                stored = np.where(made.scribble < 0, 4, made.scribble).astype(np.uint8)
                save(root / "acdc_scribbles" / f"{case}_scribble.nii.gz", stored, plain=True)
    return tree


def acdc_scribbles(root: Path) -> Tree:
    tree = acdc(root, drawn=True)
    tree.needed = root / "acdc_scribbles" / "patient002_frame09_scribble.nii.gz"
    return tree


def btcv(root: Path) -> Tree:
    tree = Tree(classes=("spleen", "right kidney", "left kidney", "gallbladder", "oesophagus", "liver"))
    for number, split in ((5, "Tr"), (6, "Tr"), (1, "Ts")):
        image, label = volume(number, 13)
        tree.needed = save(root / "RawData" / "Training" / "img" / f"img{number:04d}.nii.gz", image)
        stored = label.astype(np.uint8)
        tree.label = save(root / "RawData" / "Training" / "label" / f"label{number:04d}.nii.gz", stored)
        tree.cases[f"img{number:04d}"] = Made(split, image[None], label)
    save(root / "RawData" / "Testing" / "img" / "img0061.nii.gz", image)
    return tree


def chaos(root: Path) -> Tree:
    tree = Tree(classes=("liver", "right kidney", "left kidney", "spleen"))
    greys = {1: 63, 2: 126, 3: 189, 4: 252}
    for number in (1, 13):
        image, label = volume(number, 4)
        study = root / "CHAOS_Train_Sets" / "Train_Sets" / "MR" / str(number) / "T1DUAL"
        channels = np.stack([image, image // 2])
        for z in range(SIZE[0]):
            index = SIZE[0] - z  # names run against the positions
            for channel, phase in zip(channels, ("InPhase", "OutPhase"), strict=True):
                path = study / "DICOM_anon" / phase / f"IMG-0004-{2 * index + (phase == 'InPhase'):05d}.dcm"
                write_slice(path, channel[z], z, f"{number}.{z}.{phase == 'InPhase':d}")
            tree.needed = path
            stored = mapped(label[z], greys).astype(np.uint8)
            (study / "Ground").mkdir(exist_ok=True)
            tree.label = study / "Ground" / f"IMG-0004-{2 * index + 1:05d}.png"
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(stored), str(tree.label))
        tree.cases[f"mr{number:03d}"] = Made("Tr", channels, label)
    return tree


def write_slice(path: Path, pixels: np.ndarray, z: int, uid: str) -> None:
    """Write a DICOM slice with a series UID of its own, as CHAOS has them."""
    pydicom = pytest.importorskip("pydicom", reason="needs the extra: pip install 'medcl[dicom]'")
    direction = np.reshape(DIRECTION, (3, 3))
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.2.1125.7.{uid}"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    entry = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    entry.SOPClassUID, entry.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    entry.SeriesInstanceUID, entry.StudyInstanceUID, entry.Modality = f"{entry.SOPInstanceUID}.9", "1.2.8.1", "MR"
    entry.ImageOrientationPatient = [float(v) for v in (*direction[:, 0], *direction[:, 1])]
    entry.ImagePositionPatient = [float(v) for v in np.add(ORIGIN, SPACING[2] * z * direction[:, 2])]
    entry.PixelSpacing, entry.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
    entry.Rows, entry.Columns, entry.SamplesPerPixel = *pixels.shape, 1
    entry.PhotometricInterpretation, entry.PixelRepresentation = "MONOCHROME2", 1
    entry.BitsAllocated, entry.BitsStored, entry.HighBit = 16, 16, 15
    entry.PixelData = pixels.astype(np.int16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    entry.save_as(path, enforce_file_format=True)


def la2018(root: Path) -> Tree:
    tree = Tree(classes=("LA",))
    for seed, (case, part) in enumerate([("0RZDK210BSMWAA6467LU", "Training"), ("1D7CUD1955YZPGK8XHJX", "Training"),
                                         ("02S4YZQ4ADTBXXKBRT0T", "Testing")]):  # fmt: skip
        image, label = volume(seed, 1)
        folder = root / f"{part} Set" / case
        tree.needed = save(folder / "lgemri.nrrd", (image - image.min()).clip(max=255).astype(np.uint8))
        tree.label = save(folder / "laendo.nrrd", (255 * label).astype(np.uint8))
        shown = (image - image.min()).clip(max=255)
        tree.cases[case] = Made("Ts" if part == "Testing" else "Tr", shown[None], label)
    return tree


def mscmr_scribbles(root: Path) -> Tree:
    tree = Tree(classes=("RV", "Myo", "LV"))
    for number, split, folder in ((13, "Tr", "train"), (2, "Tr", "train"), (1, "Val", "val"), (3, "Ts", "TestSet")):
        image, label = volume(number, 3)
        case, base = f"subject{number}_DE", root / "MSCMR_dataset" / folder
        tree.needed = save(base / "images" / f"{case}.nii.gz", image)
        made = tree.cases[case] = Made(split, image[None])
        if split == "Tr":
            made.scribble = strokes(label, number)
            stored = np.where(made.scribble < 0, 4, made.scribble)
            save(base / "labels" / f"{case}_scribble.nii.gz", stored.astype(np.uint8))
        else:
            made.label = label
            tree.label = save(base / "labels" / f"{case}_manual.nii.gz", label.astype(np.uint8))
    return tree


def mscmrseg(root: Path) -> Tree:
    tree = Tree(classes=("RV", "Myo", "LV"))
    base = root / "C0LET2_nii45_for_challenge19"
    for number, split in ((2, "Tr"), (4, "Tr"), (1, "Val"), (3, "Ts")):
        image, label = volume(number, 3)
        person = f"patient{number}"
        tree.needed = save(base / "c0t2lge" / f"{person}_LGE.nii.gz", image)
        save(base / "c0t2lge" / f"{person}_C0.nii.gz", image // 2)
        stored = mapped(label, {1: 600, 2: 200, 3: 500})
        tree.label = save(base / "lgegt" / f"{person}_LGE_manual.nii.gz", stored)
        tree.cases[f"{person}_LGE"] = Made(split, image[None], label)
    return tree


def msd(root: Path) -> Tree:
    tree = Tree(classes=("edema", "tumour"))
    task = root / "Task01_BrainTumour"
    content: dict[str, Any] = {"name": "BRATS", "modality": {"0": "FLAIR", "1": "T1w"}, "training": [], "test": [],
               "labels": {"0": "background", "1": "edema", "2": "tumour"}, "numTraining": 2, "numTest": 1}  # fmt: skip
    for number in (1, 2, 3):
        image, label = volume(number, 2)
        case, split = f"BRATS_{number:03d}", "Ts" if number == 3 else "Tr"
        channels = np.stack([image, image // 3])
        path = save(task / f"images{split}" / f"{case}.nii.gz", channels)
        made = tree.cases[case] = Made(split, channels)
        if split == "Tr":
            made.label = label
            tree.needed = path
            tree.label = save(task / "labelsTr" / path.name, label.astype(np.uint8))
            content["training"].append({"image": f"./imagesTr/{path.name}", "label": f"./labelsTr/{path.name}"})
        else:
            content["test"].append(f"./imagesTs/{path.name}")
    (task / "imagesTr" / "._BRATS_001.nii.gz").write_bytes(b"rubbish of another system")
    (task / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return tree


def myops(root: Path) -> Tree:
    tree = Tree(classes=("RV", "LV", "Myo", "oedema", "scar"))
    for case, split in (("training_101", "Tr"), ("training_102", "Tr"), ("test_201", "Ts")):
        image, label = volume(len(tree.cases), 5)
        channels = np.stack([image, image // 2, image // 3])
        for channel, kind in zip(channels, ("C0", "DE", "T2"), strict=True):
            folder = root / ("train25" if split == "Tr" else "test20")
            tree.needed = save(folder / f"myops_{case}_{kind}.nii.gz", channel)
        made = tree.cases[f"myops_{case}"] = Made(split, channels)
        if split == "Tr":
            made.label = label
            stored = mapped(label, {1: 600, 2: 500, 3: 200, 4: 1220, 5: 2221})
            tree.label = save(root / "train25_myops_gd" / f"myops_{case}_gd.nii.gz", stored)
    return tree


TREES: dict[str, Callable[[Path], Tree]] = {
    "acdc": acdc,
    "acdc-scribbles": acdc_scribbles,
    "btcv": btcv,
    "chaos": chaos,
    "la2018": la2018,
    "mscmr-scribbles": mscmr_scribbles,
    "mscmrseg": mscmrseg,
    "msd": msd,
    "myops": myops,
}
