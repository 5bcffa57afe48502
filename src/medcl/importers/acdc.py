"""ACDC: cine hearts of 150 patients, two moments each (NIfTI release)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from medcl.data.layout import Split
from medcl.importers import register
from medcl.importers.base import Content, Facts, Findings, Importer, Study
from medcl.importers.tree import Tree
from medcl.importers.volumes import File

CLASSES = ("RV", "Myo", "LV")
VALUES = {0: "background", 1: "RV", 2: "Myo", 3: "LV"}
GROUPS = {"heart": CLASSES, "left ventricle": ("Myo", "LV")}
TRAINING = [f"patient{number:03d}" for number in range(1, 101)]
TESTING = [f"patient{number:03d}" for number in range(101, 151)]


@register("acdc")
class Acdc(Importer):
    """End-diastolic and end-systolic frames with dense labels: 100 patients to train on, 50 to test."""

    facts: ClassVar[Facts] = Facts(
        title="Cine cardiac MR, short axis: RV, Myo, LV at two moments (ACDC, MICCAI 2017)",
        licence="CC BY-NC-SA 4.0 as named by later hosts; the challenge asks for a citation in any use",
        citation="Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac Multi-structures Segmentation "
        "and Diagnosis: Is the Problem Solved?, IEEE TMI 37(11), 2514-2525, 2018",
        where="https://www.creatis.insa-lyon.fr/Challenge/acdc/databases.html",
        layout="patient001/{Info.cfg, patient001_frame01.nii.gz, patient001_frame01_gt.nii.gz, ...}",
        sources=(
            "https://www.creatis.insa-lyon.fr/Challenge/acdc/evaluation.html (values 0-3)",
            "https://acdc.creatis.insa-lyon.fr/description/databases.html (100 + 50 patients)",
            "CineMA, cinema/data/acdc/README.md (folders of the release)",
        ),
        unverified="The licence was found at later hosts only, not on the challenge's own pages.",
    )

    def content(self, tree: Tree) -> Content:
        """Return the classes, as the challenge numbers them."""
        return Content(("cine MR",), CLASSES, VALUES, groups=GROUPS)

    def find(self, tree: Tree, findings: Findings) -> list[Study]:
        """Return both moments of every patient, as `Info.cfg` names them."""
        frames = tree.named(r"(?P<id>patient\d{3}_frame\d{2})\.nii(?:\.gz)?", findings.errors)
        labels = tree.named(r"(?P<id>patient\d{3}_frame\d{2})_gt\.nii(?:\.gz)?", findings.errors)
        notes = tree.named(r"(?P<id>patient\d{3})/Info\.cfg", findings.errors)
        people = {case[:10] for case in (*frames, *labels)} | notes.keys()
        findings.check_complete("training patients", people - set(TESTING), TRAINING)
        findings.check_complete("test patients", people & set(TESTING), TESTING)
        studies = []
        for person in sorted(people):
            split: Split = "Ts" if person in TESTING else "Tr"
            if person not in notes:
                findings.missing(person, "Info.cfg, which names its two frames")
                continue
            for frame in _frames(notes[person], findings):
                case = f"{person}_frame{frame:02d}"
                if case not in frames:
                    findings.missing(case, f"the image {case}.nii.gz, as Info.cfg names this frame")
                elif case not in labels and split == "Tr":
                    findings.missing(case, f"the label {case}_gt.nii.gz")
                else:
                    label = File(labels[case]) if case in labels else None
                    studies.append(Study(case, split, (File(frames[case]),), label, subject=person))
        if unlabelled := sum(study.label is None for study in studies):
            findings.notes.append(f"{unlabelled} test images have no label (the release before 2022).")
        return studies


def _frames(path: Path, findings: Findings) -> list[int]:
    """Read the numbers of the end-diastolic and the end-systolic frame."""
    found = dict(re.findall(r"^(ED|ES)\s*:\s*(\d+)\s*$", path.read_text("utf-8", "replace"), re.MULTILINE))
    if found.keys() != {"ED", "ES"}:
        findings.errors.append(f"{path}: expected the lines 'ED: <frame>' and 'ES: <frame>'; copy the file again.")
    return [int(value) for value in found.values()]
