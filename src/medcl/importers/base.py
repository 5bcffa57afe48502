"""What an importer says about its data set, and what it finds in a download."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field

from medcl.data.layout import Split
from medcl.importers.tree import Tree
from medcl.importers.volumes import Volume
from medcl.settings import Settings


@dataclass(frozen=True)
class Facts:
    """What is known of a data set before anything is read.

    Attributes:
        title: What it shows, in a few words.
        licence: Terms of the data.
        citation: What users shall cite.
        where: Where it can be had.
        layout: The names that the importer looks for, relative to any folder above them.
        sources: Where names, counts and label values were looked up.
        unverified: What could not be looked up; empty where nothing is left open.
    """

    title: str
    licence: str
    citation: str
    where: str
    layout: str
    sources: tuple[str, ...]
    unverified: str = ""


@dataclass(frozen=True)
class Content:
    """What the voxels of a data set mean.

    Attributes:
        channels: Channel names by index.
        classes: Structures, in the order of the values 1, 2, ... that are written.
        labels: Value in the source's dense labels -> 'background' or one of `classes`. Several values may mean one
            class; a value that is not named is an error.
        strokes: The same for scribbles, where 'ignore' must be among the meanings; None where the source has none.
        groups: Unions of classes that form one anatomy.
    """

    channels: tuple[str, ...]
    classes: tuple[str, ...]
    labels: Mapping[int, str]
    strokes: Mapping[int, str] | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """One case as it lies in the download.

    Attributes:
        id: Name of the case in the dataset folder.
        split: Part that it belongs to.
        image: Volumes that hold all channels, in their order.
        label: Dense label, if there is one.
        scribble: Strokes, if there are some.
        subject: The person; cases of one person stay in one part. Default: the id.
    """

    id: str
    split: Split
    image: tuple[Volume, ...]
    label: Volume | None = None
    scribble: Volume | None = None
    subject: str = ""


@dataclass
class Findings:
    """What is wrong with a download, one sentence each.

    Attributes:
        errors: What stops the import.
        absent: Cases of the complete data set that are not there; errors unless a part of it is enough.
        notes: What the user should know.
    """

    errors: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check_complete(self, what: str, found: Iterable[str], expected: Iterable[str]) -> None:
        """Compare the names that are there with those that belong to the data set.

        Args:
            what: What they are, such as 'training patients'.
            found: Names found.
            expected: Names of the complete data set.
        """
        there, whole = set(found), sorted(expected)
        if missing := [name for name in whole if name not in there]:
            self.absent.append(f"expected {len(whole)} {what}, {len(missing)} are not there: {shortened(missing)}.")
        if foreign := sorted(there - set(whole)):
            self.errors.append(f"unknown {what}: {shortened(foreign)}; move them elsewhere.")

    def check_number(self, what: str, found: int, expected: int) -> None:
        """Compare a number of cases with that of the complete data set, where it has no official names."""
        if found < expected:
            self.absent.append(f"expected {expected} {what}, got {found}.")
        elif found > expected:
            self.errors.append(f"expected {expected} {what}, got {found}; move those that do not belong elsewhere.")

    def missing(self, case: str, what: str) -> None:
        """Say that a case that is there lacks a file."""
        self.errors.append(f"case {case}: expected {what}, found none; add it or remove the case.")


class Importer(Settings):
    """Base of all importers: the fields of a subclass are its options, `find` knows the official layout."""

    facts: ClassVar[Facts]
    map_header: ClassVar[str] = "check"
    """'check': a map must lie on the grid of its image. 'image': the source's maps are known to carry poorer headers;
    the image's counts where number and spacing of voxels agree."""

    hold_out: int = Field(
        0,
        ge=0,
        description="Labelled training subjects that become the test part, in place of the source's own test cases; "
        "spread evenly over their sorted names.",
    )

    @abstractmethod
    def content(self, tree: Tree) -> Content:
        """Return what the voxels mean."""

    @abstractmethod
    def find(self, tree: Tree, findings: Findings) -> list[Study]:
        """Return the cases that are there; what is missing or does not belong goes to `findings`."""


def shortened(names: list[str], most: int = 5) -> str:
    """Write names as a list that stays short."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
