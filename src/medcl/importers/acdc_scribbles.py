"""The hand-drawn strokes on ACDC, put beside the images of the challenge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from medcl.importers import register
from medcl.importers.acdc import Acdc
from medcl.importers.base import Content, Facts, Findings, Study
from medcl.importers.tree import Tree
from medcl.importers.volumes import File

IGNORE = 4


@register("acdc-scribbles")
class AcdcScribbles(Acdc):
    """ACDC with the strokes of Valvano et al. on the training patients; dense labels stay beside them."""

    facts: ClassVar[Facts] = replace(
        Acdc.facts,
        title="ACDC with hand-drawn strokes on the training patients",
        licence=f"Images: {Acdc.facts.licence}. Strokes: repository under Apache-2.0, citation asked for",
        citation=f"{Acdc.facts.citation}; Valvano, Leo, Tsaftaris, Learning to Segment from Scribbles using "
        "Multi-scale Adversarial Attention Gates, IEEE TMI 40(8), 2021",
        where="https://vios-s.github.io/multiscale-adversarial-attention-gates/data (and ACDC itself)",
        layout="as acdc, and patient001_frame01_scribble.nii.gz anywhere below (or below --set scribbles=FOLDER)",
        sources=(
            *Acdc.facts.sources,
            "https://vios-s.github.io/multiscale-adversarial-attention-gates/data",
            "the 200 published scribble files (values 0-3 as in ACDC, 4 = not annotated)",
        ),
        unverified="The project page names files patient012_frame_ED_scribble.nii.gz, the archive numbers the frames; "
        "both are read.",
    )
    map_header: ClassVar[str] = "image"  # the published strokes keep spacing, but neither origin nor orientation

    scribbles: Path | None = Field(None, description="Folder of the unpacked strokes, where it lies elsewhere.")

    def content(self, tree: Tree) -> Content:
        """Return the classes of ACDC; in strokes, 0 is drawn background and 4 not annotated."""
        return replace(super().content(tree), strokes={**super().content(tree).labels, IGNORE: "ignore"})

    def find(self, tree: Tree, findings: Findings) -> list[Study]:
        """Return ACDC with strokes; a training frame without strokes is an error."""
        place = tree if self.scribbles is None else Tree(self.scribbles)
        found = place.named(r"(?P<id>patient\d{3}_frame_?(?:\d{2}|ED|ES))_scribble\.nii(?:\.gz)?", findings.errors)
        moments: dict[str, int] = {}
        studies = []
        for study in super().find(tree, findings):
            moment = moments[study.subject] = moments.get(study.subject, -1) + 1  # Info.cfg names ED first
            if study.split == "Ts":
                studies.append(study)
                continue
            names = (study.id, f"{study.subject}_frame_{('ED', 'ES')[min(moment, 1)]}")
            path = next((found[name] for name in names if name in found), None)
            if path is None:
                findings.missing(study.id, f"the strokes {study.id}_scribble.nii.gz")
            else:
                studies.append(replace(study, scribble=File(path)))
        return studies
