"""CHAOS: healthy abdomens in CT and MR, as DICOM with a picture of the organs per slice."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from medcl.data.layout import Split
from medcl.importers import register
from medcl.importers.base import Content, Facts, Findings, Importer, Study
from medcl.importers.tree import Tree
from medcl.importers.volumes import DicomSlices, Pictures

ORGANS = {"liver": range(55, 71), "right kidney": range(110, 136), "left kidney": range(175, 201),
          "spleen": range(240, 256)}  # fmt: skip
"""Grey values of the MR pictures: 63, 126, 189 and 252, with the tolerance that public converters grant."""
FOLDERS = {"t1": ("T1DUAL/DICOM_anon/InPhase", "T1DUAL/DICOM_anon/OutPhase"), "t2": ("T2SPIR/DICOM_anon",),
           "ct": ("DICOM_anon",)}  # fmt: skip
CHANNELS = {"t1": ("T1 in-phase MR", "T1 out-phase MR"), "t2": ("T2 MR",), "ct": ("CT",)}


@register("chaos")
class Chaos(Importer):
    """One part of the data: T1 (two channels on one grid) or T2 of the MR studies, or CT with the liver alone."""

    facts: ClassVar[Facts] = Facts(
        title="Abdominal CT (liver) and MR (liver, kidneys, spleen) of healthy people (CHAOS, ISBI 2019)",
        licence="CC BY-NC-SA 4.0",
        citation="Kavur et al., CHAOS Challenge - Combined (CT-MR) Healthy Abdominal Organ Segmentation, MedIA 69, "
        "2021; Kavur et al., CHAOS Data, doi:10.5281/zenodo.3431873",
        where="https://chaos.grand-challenge.org/Download/ (doi:10.5281/zenodo.3431873)",
        layout="Train_Sets/{MR/1/T1DUAL/{DICOM_anon/{InPhase,OutPhase}/*.dcm, Ground/*.png}, "
        "MR/1/T2SPIR/{DICOM_anon/*.dcm, Ground/*.png}, CT/1/{DICOM_anon/*.dcm, Ground/*.png}}",
        sources=(
            "https://chaos.grand-challenge.org/Data/ (parts and counts)",
            "public converters: jonasteuwen/chaos-challenge and others (grey values, folders, a UID per slice)",
        ),
        unverified="That the n-th picture belongs to the n-th DICOM file by name is what public converters rely on.",
    )

    part: Literal["t1", "t2", "ct"] = Field("t1", description="t1 or t2: MR with four organs; ct: CT with the liver.")

    def content(self, tree: Tree) -> Content:
        """Return the organs; the liver alone in CT."""
        if self.part == "ct":
            return Content(CHANNELS["ct"], ("liver",), {0: "background", 1: "liver", 255: "liver"})
        values = {grey: name for name, greys in ORGANS.items() for grey in greys}
        groups = {"kidneys": ("right kidney", "left kidney"), "organs": tuple(ORGANS)}
        return Content(CHANNELS[self.part], tuple(ORGANS), {0: "background", **values}, groups=groups)

    def find(self, tree: Tree, findings: Findings) -> list[Study]:
        """Return the studies with drawn organs, and the test studies without."""
        modality = "CT" if self.part == "ct" else "MR"
        base = "" if self.part == "ct" else f"{FOLDERS[self.part][0].partition('/')[0]}/"
        series: dict[Path, dict[str, list[Path]]] = {}
        for folder in FOLDERS[self.part]:
            for match, path in tree.match(rf"{modality}/(?P<id>\d+)/{folder}/[^/]+\.dcm"):
                series.setdefault(_study(path, match["id"]), {}).setdefault(folder, []).append(path)
        drawn: dict[Path, list[Path]] = {}
        for match, path in tree.match(rf"{modality}/(?P<id>\d+)/{base}Ground/[^/]+\.png"):
            drawn.setdefault(_study(path, match["id"]), []).append(path)
        studies = []
        for place in sorted(series.keys() | drawn.keys()):
            case = f"{modality.lower()}{int(place.name):03d}"
            split: Split = "Ts" if any("test" in part.lower() for part in place.parts[-3:-1]) else "Tr"
            lacking = [folder for folder in FOLDERS[self.part] if folder not in series.get(place, {})]
            if lacking:
                findings.missing(case, f"DICOM files in {place / lacking[0]}")
            elif place not in drawn and split == "Tr":
                findings.missing(case, f"pictures of the organs in {place / base / 'Ground'}")
            else:
                slices = [tuple(series[place][folder]) for folder in FOLDERS[self.part]]
                label = Pictures(tuple(drawn[place]), slices[0]) if place in drawn else None
                studies.append(Study(case, split, tuple(map(DicomSlices, slices)), label))
        parts = [study.split for study in studies]
        findings.check_number(f"training studies ({self.part})", parts.count("Tr"), 20)
        if "Ts" in parts:
            findings.check_number(f"test studies ({self.part})", parts.count("Ts"), 20)
        return studies


def _study(path: Path, number: str) -> Path:
    """Return the folder of the study that a file belongs to."""
    return next(folder for folder in path.parents if folder.name == number and folder.parent.name in ("MR", "CT"))
