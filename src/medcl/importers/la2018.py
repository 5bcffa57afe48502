"""The left atrium of the 2018 challenge: isotropic late-enhancement volumes."""

from __future__ import annotations

import re
from typing import ClassVar

from medcl.data.layout import Split
from medcl.importers import register
from medcl.importers.base import Content, Facts, Findings, Importer, Study
from medcl.importers.tree import Tree
from medcl.importers.volumes import File


@register("la2018")
class LeftAtrium(Importer):
    """100 training volumes; the 54 test volumes come with labels in the release after the challenge."""

    facts: ClassVar[Facts] = Facts(
        title="Late-enhancement MR of the left atrium (Atrial Segmentation Challenge, 2018)",
        licence="Terms of the challenge: research; see the Cardiac Atlas Project",
        citation="Xiong et al., A Global Benchmark of Algorithms for Segmenting the Left Atrium from Late "
        "Gadolinium-Enhanced Cardiac Magnetic Resonance Imaging, MedIA 67, 2021",
        where="https://www.cardiacatlas.org/atriaseg2018-challenge/atria-seg-data/",
        layout="Training Set/<case>/{lgemri.nrrd, laendo.nrrd}, Testing Set/<case>/{lgemri.nrrd, laendo.nrrd}",
        sources=("https://www.cardiacatlas.org/atriaseg2018-challenge/atria-seg-data/ (100 + 54, names, 0 and 255)",),
        unverified="Whether every copy of the test part has labels; one without is a note. The 80/20 lists of the "
        "semi-supervised literature name cases by the hashes of one copy; hold_out=20 gives another 80/20.",
    )

    def content(self, tree: Tree) -> Content:
        """Return the one class."""
        return Content(("LGE MR",), ("LA",), {0: "background", 255: "LA"})

    def find(self, tree: Tree, findings: Findings) -> list[Study]:
        """Return the cases, named after their folders."""
        images = tree.named(r"(?P<id>[^/]+)/lgemri\.nrrd", findings.errors)
        labels = tree.named(r"(?P<id>[^/]+)/laendo\.nrrd", findings.errors)
        studies = []
        for case in sorted(images.keys() | labels.keys()):
            folder = (images.get(case) or labels[case]).parent
            split: Split = "Ts" if re.search(r"test", folder.parent.name, re.IGNORECASE) else "Tr"
            if case not in images:
                findings.missing(case, f"{folder / 'lgemri.nrrd'}")
            elif case not in labels and split == "Tr":
                findings.missing(case, f"{folder / 'laendo.nrrd'}")
            else:
                label = File(labels[case]) if case in labels else None
                studies.append(Study(case, split, (File(images[case]),), label))
        parts = [study.split for study in studies]
        findings.check_number("training volumes", parts.count("Tr"), 100)
        findings.check_number("test volumes", parts.count("Ts"), 54)
        if unlabelled := sum(study.label is None for study in studies):
            findings.notes.append(f"{unlabelled} test volumes have no label.")
        return studies
