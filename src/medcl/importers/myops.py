"""MyoPS 2020: scar and oedema of the heart muscle in three aligned sequences."""

from __future__ import annotations

from typing import ClassVar

from medcl.data.layout import Split
from medcl.importers import register
from medcl.importers.base import Content, Facts, Findings, Importer, Study
from medcl.importers.tree import Tree
from medcl.importers.volumes import File

SEQUENCES = ("C0", "DE", "T2")
CLASSES = ("RV", "LV", "Myo", "oedema", "scar")
VALUES = {0: "background", 600: "RV", 500: "LV", 200: "Myo", 1220: "oedema", 2221: "scar"}
GROUPS = {
    "pathology": ("oedema", "scar"),
    "myocardium": ("Myo", "oedema", "scar"),
    "left ventricle": ("LV", "Myo", "oedema", "scar"),
    "heart": CLASSES,
}


@register("myops")
class Myops(Importer):
    """Three channels a case; what contains what is in the groups: the wall holds scar and oedema."""

    facts: ClassVar[Facts] = Facts(
        title="Cardiac MR in three aligned sequences: RV, LV, Myo, oedema, scar (MyoPS, MICCAI 2020)",
        licence="Challenge terms: research only, after registration",
        citation="Zhuang, Multivariate Mixture Model for Myocardial Segmentation Combining Multi-Source Images, IEEE "
        "TPAMI 41(12), 2019; Li et al., MyoPS: A Benchmark of Myocardial Pathology Segmentation, MedIA 87, 2023",
        where="https://zmiclab.github.io/zxh/0/myops20/",
        layout="train25/myops_training_101_{C0,DE,T2}.nii.gz, train25_myops_gd/myops_training_101_gd.nii.gz, "
        "test20/myops_test_201_{C0,DE,T2}.nii.gz",
        sources=(
            "the challenge's page as quoted by CineMA, cinema/data/myops2020 (values, 25 + 20 cases)",
            "openmedlab/Awesome-Medical-Dataset and public code for the challenge (folder and file names)",
        ),
        unverified="The labels of the test part are given out encrypted; it comes without labels here.",
    )

    def content(self, tree: Tree) -> Content:
        """Return classes, regions and the three channels."""
        return Content(("bSSFP MR", "LGE MR", "T2 MR"), CLASSES, VALUES, groups=GROUPS)

    def find(self, tree: Tree, findings: Findings) -> list[Study]:
        """Return 25 training cases with labels and 20 test cases without."""
        files = {
            kind: tree.named(rf"(?P<id>myops_(?:training|test)_\d{{3}})_{kind}\.nii(?:\.gz)?", findings.errors)
            for kind in (*SEQUENCES, "gd")
        }
        known: dict[str, Split] = {f"myops_training_{number}": "Tr" for number in range(101, 126)}
        known |= {f"myops_test_{number}": "Ts" for number in range(201, 221)}
        there = {case for found in files.values() for case in found}
        findings.check_complete("training cases", {c for c in there if known.get(c) != "Ts"},
                                [c for c in known if known[c] == "Tr"])  # fmt: skip
        findings.check_complete("test cases", {c for c in there if known.get(c) == "Ts"},
                                [c for c in known if known[c] == "Ts"])  # fmt: skip
        studies = []
        for case in sorted(there & known.keys()):
            needed = (*SEQUENCES, "gd") if known[case] == "Tr" else SEQUENCES
            if lacking := [kind for kind in needed if case not in files[kind]]:
                findings.missing(case, " and ".join(f"{case}_{kind}.nii.gz" for kind in lacking))
                continue
            image = tuple(File(files[kind][case]) for kind in SEQUENCES)
            label = File(files["gd"][case]) if case in files["gd"] else None
            studies.append(Study(case, known[case], image, label))
        return studies
