"""MS-CMRSeg 2019 as the challenge gives it: three sequences of 45 patients."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from medcl.data.layout import Split
from medcl.importers import register
from medcl.importers.base import Content, Facts, Findings, Importer, Study
from medcl.importers.mscmr_scribbles import CLASSES, GROUPS, PARTS
from medcl.importers.tree import Tree
from medcl.importers.volumes import File

PATIENTS = [f"patient{number}" for number in range(1, 46)]


@register("mscmrseg")
class Mscmrseg(Importer):
    """One sequence of the challenge; the three lie on different grids, so that they are no channels of one image."""

    facts: ClassVar[Facts] = Facts(
        title="Cardiac MR in three sequences: RV, Myo, LV (MS-CMRSeg, MICCAI 2019)",
        licence="Challenge terms: research only, after registration",
        citation="Zhuang, Multivariate Mixture Model for Myocardial Segmentation Combining Multi-Source Images, IEEE "
        "TPAMI 41(12), 2019; Zhuang et al., Cardiac Segmentation on Late Gadolinium Enhancement MRI, MedIA 81, 2022",
        where="https://zmiclab.github.io/zxh/0/mscmrseg19/data.html",
        layout="C0LET2_nii45_for_challenge19/{c0t2lge/patient1_{C0,LGE,T2}.nii.gz, c0gt, t2gt, "
        "lgegt/patient1_LGE_manual.nii.gz} and C0LET2_gt_for_challenge19/{C0_manual_10,LGE_manual_35_TestData,...}",
        sources=(
            "arXiv:2006.12434 (45 patients, sequences, values)",
            "folder lists and file names in public code for the challenge (c0t2lge, lgegt, patient1_LGE_manual)",
        ),
        unverified="The split 25/5/15 takes the numbers of CycleMix's subjects for those of the challenge's patients; "
        "that both number alike could not be verified. How many test labels of the challenge were given out is "
        "unclear, so that a missing label is a note, not an error.",
    )

    sequence: Literal["LGE", "C0", "T2"] = Field("LGE", description="LGE, C0 (balanced SSFP) or T2.")
    split: Literal["25/5/15", "all"] = Field(
        "25/5/15", description="25/5/15: training, validation and test by CycleMix's numbers; all: everything trains."
    )

    def content(self, tree: Tree) -> Content:
        """Return the classes, as the challenge numbers them."""
        values = {0: "background", 600: "RV", 200: "Myo", 500: "LV"}
        return Content((f"{self.sequence} MR",), CLASSES, values, groups=GROUPS)

    def find(self, tree: Tree, findings: Findings) -> list[Study]:
        """Return every image of the sequence, with its label where there is one."""
        images = tree.named(rf"(?P<id>patient\d+)_{self.sequence}\.nii(?:\.gz)?", findings.errors)
        labels = tree.named(rf"(?P<id>patient\d+)_{self.sequence}_manual\.nii(?:\.gz)?", findings.errors)
        findings.check_complete(f"patients with {self.sequence}", images.keys() | labels.keys(), PATIENTS)
        parts = {f"patient{number}": part for part, numbers in PARTS.items() for number in numbers}
        studies = []
        for person in PATIENTS:
            if person in labels and person not in images:
                findings.missing(person, f"the image {person}_{self.sequence}.nii.gz of its label")
            elif person in images:
                split: Split = "Tr" if self.split == "all" else parts[person]
                label = File(labels[person]) if person in labels else None
                studies.append(Study(f"{person}_{self.sequence}", split, (File(images[person]),), label))
        if unlabelled := sum(study.label is None for study in studies):
            findings.notes.append(f"{unlabelled} of {len(studies)} images have no label in this download.")
        return studies
