"""BTCV: abdominal CT with thirteen organs (Synapse)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from medcl.data.layout import Split
from medcl.importers import register
from medcl.importers.base import Content, Facts, Findings, Importer, Study
from medcl.importers.tree import Tree
from medcl.importers.volumes import File

ORGANS = (
    "spleen", "right kidney", "left kidney", "gallbladder", "oesophagus", "liver", "stomach", "aorta",
    "inferior vena cava", "portal and splenic veins", "pancreas", "right adrenal gland", "left adrenal gland",
)  # fmt: skip
EIGHT = ("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach")
"""The organs of TransUNet's lists, in their order."""
LABELLED = [f"{number:04d}" for number in (*range(1, 11), *range(21, 41))]
UNLABELLED = [f"{number:04d}" for number in range(61, 81)]
TRANSUNET_TEST = tuple(f"{number:04d}" for number in (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38))


@register("btcv")
class Btcv(Importer):
    """Thirteen organs or the usual eight; 18 training and 12 test volumes, or all 30 to train on."""

    facts: ClassVar[Facts] = Facts(
        title="Abdominal CT, 13 organs (BTCV, Multi-Atlas Labeling Beyond the Cranial Vault, MICCAI 2015)",
        licence="Terms of the challenge on Synapse, after registration",
        citation="Landman et al., MICCAI Multi-Atlas Labeling Beyond the Cranial Vault - Workshop and Challenge, 2015 "
        "(doi:10.7303/syn3193805)",
        where="https://www.synapse.org/Synapse:syn3193805/wiki/89480 (Abdomen/RawData.zip)",
        layout="RawData/Training/{img/img0001.nii.gz, label/label0001.nii.gz}, RawData/Testing/img/img0061.nii.gz",
        sources=(
            "Learn2Reg AbdomenCTCT (the same 13 organs in this order) and public converters (values, RawData folders)",
            "Beckschen/TransUNet, lists/lists_Synapse (18 training and 12 test volumes)",
        ),
        unverified="The page on Synapse needs an account: its terms and the numbers of the unlabelled volumes (61-80) "
        "are from common knowledge.",
    )

    organs: Literal[13, 8] = Field(13, description="13, or the 8 of TransUNet; the others become background then.")
    split: Literal["transunet", "all"] = Field(
        "transunet",
        description="transunet: its 18 training and 12 test volumes; all: 30 to train on, and the unlabelled to test.",
    )

    def content(self, tree: Tree) -> Content:
        """Return the organs; veins, glands and oesophagus are background in the subset of eight, as everywhere."""
        classes = ORGANS if self.organs == 13 else EIGHT
        values = {n: name if name in classes else "background" for n, name in enumerate(("background", *ORGANS))}
        groups: dict[str, tuple[str, ...]] = {"kidneys": ("right kidney", "left kidney"), "organs": classes}
        if self.organs == 13:
            groups["adrenal glands"] = ("right adrenal gland", "left adrenal gland")
            groups["vessels"] = ("aorta", "inferior vena cava", "portal and splenic veins")
        return Content(("CT",), classes, values, groups=groups)

    def find(self, tree: Tree, findings: Findings) -> list[Study]:
        """Return the labelled volumes, and the unlabelled ones where all of the labelled train."""
        images = tree.named(r"img(?P<id>\d{4})\.nii(?:\.gz)?", findings.errors)
        labels = tree.named(r"label(?P<id>\d{4})\.nii(?:\.gz)?", findings.errors)
        unlabelled = images.keys() & set(UNLABELLED)
        findings.check_complete("labelled volumes", (images.keys() | labels.keys()) - unlabelled, LABELLED)
        studies = []
        for number in LABELLED:
            if number in images and number in labels:
                split: Split = "Ts" if self.split == "transunet" and number in TRANSUNET_TEST else "Tr"
                studies.append(Study(f"img{number}", split, (File(images[number]),), File(labels[number])))
            elif number in images:
                findings.missing(f"img{number}", f"the label label{number}.nii.gz")
            elif number in labels:
                findings.missing(f"img{number}", f"the image img{number}.nii.gz of label{number}.nii.gz")
        if self.split == "all":
            studies += [Study(f"img{number}", "Ts", (File(images[number]),)) for number in sorted(unlabelled)]
        elif unlabelled:
            findings.notes.append(f"{len(unlabelled)} volumes without labels are left out (split=all keeps them).")
        return studies
