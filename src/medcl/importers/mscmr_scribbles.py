"""MSCMR as CycleMix publishes it: late-enhancement hearts with hand-drawn strokes, split 25 / 5 / 15."""

from __future__ import annotations

from typing import ClassVar

from medcl.data.layout import Split
from medcl.importers import register
from medcl.importers.base import Content, Facts, Findings, Importer, Study
from medcl.importers.tree import Tree
from medcl.importers.volumes import File

CLASSES = ("RV", "Myo", "LV")
GROUPS = {"heart": CLASSES, "left ventricle": ("Myo", "LV")}
VALUES = {0: "background", 1: "RV", 2: "Myo", 3: "LV"}
VALIDATION = (1, 8, 29, 36, 41)
TEST = (3, 5, 10, 11, 12, 16, 17, 23, 28, 30, 33, 35, 38, 40, 43)
PARTS: dict[Split, tuple[int, ...]] = {
    "Tr": tuple(n for n in range(1, 46) if n not in VALIDATION + TEST),
    "Val": VALIDATION,
    "Ts": TEST,
}
"""Numbers of the subjects in each part, by the file names of CycleMix's `MSCMR_dataset`."""


@register("mscmr-scribbles")
class MscmrScribbles(Importer):
    """Strokes for 25 training volumes, dense labels for 5 validation and 15 test volumes."""

    facts: ClassVar[Facts] = Facts(
        title="Late-enhancement cardiac MR with hand-drawn strokes: RV, Myo, LV (MSCMR, CycleMix)",
        licence="MS-CMRSeg 2019 challenge terms: research only; the repository of the strokes has no licence file",
        citation="Zhuang, Multivariate Mixture Model for Myocardial Segmentation Combining Multi-Source Images, IEEE "
        "TPAMI 41(12), 2019; Zhang and Zhuang, CycleMix, CVPR 2022 (strokes)",
        where="https://github.com/BWGZK/CycleMix (MSCMR_dataset, MSCMR_scribbles)",
        layout="{train,val,TestSet}/images/subject1_DE.nii.gz, subject1_DE_scribble.nii.gz, subject1_DE_manual.nii.gz",
        sources=("file list of BWGZK/CycleMix at 7674830", "values measured on its files (4 = not annotated)"),
        unverified="Values of the test labels: those of the validation part were measured, the test part's were not.",
    )

    def content(self, tree: Tree) -> Content:
        """Return the classes; in strokes, 0 is drawn background and 4 not annotated."""
        return Content(("LGE MR",), CLASSES, VALUES, {**VALUES, 4: "ignore"}, GROUPS)

    def find(self, tree: Tree, findings: Findings) -> list[Study]:
        """Return the volumes by CycleMix's split; strokes may lie beside them or in `MSCMR_scribbles`."""
        images = tree.named(r"(?P<id>subject\d+_DE)\.nii(?:\.gz)?", findings.errors)
        labels = tree.named(r"(?P<id>subject\d+_DE)_manual\.nii(?:\.gz)?", findings.errors)
        strokes = {m["id"]: path for m, path in tree.match(r"(?P<id>subject\d+_DE)_scribble\.nii(?:\.gz)?")}
        studies = []
        known = {f"subject{number}_DE": part for part, numbers in PARTS.items() for number in numbers}
        findings.check_complete("volumes", images.keys() | labels.keys() | strokes.keys(), known)
        for case in sorted((images.keys() | labels.keys() | strokes.keys()) & known.keys()):
            drawn = known[case] == "Tr"
            needed = strokes if drawn else labels
            if case not in images:
                findings.missing(case, f"the image {case}.nii.gz")
            elif case not in needed:
                findings.missing(case, f"{case}_{'scribble' if drawn else 'manual'}.nii.gz")
            else:
                label = File(labels[case]) if case in labels else None
                scribble = File(strokes[case]) if drawn else None
                studies.append(Study(case, known[case], (File(images[case]),), label, scribble))
        return studies
