"""The parts of a report, as data: anybody may make them, the template only draws them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

Cell = str | float | int | None
"""A table cell. None and nan are shown as undefined; numbers as they are: format them before. Further lines of a text
are set smaller and softer (an interval under its mean)."""


@dataclass(frozen=True)
class Text:
    """A paragraph. `kind` "warning" draws attention."""

    text: str
    kind: str = "plain"
    block: ClassVar[str] = "text"


@dataclass(frozen=True)
class Facts:
    """Names and values, one under the other."""

    items: Mapping[str, object]
    block: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Card:
    """One headline figure: what, how much, and what it rests on."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Cards:
    """Headline figures side by side."""

    items: Sequence[Card]
    block: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Table:
    """Rows under named columns.

    Attributes:
        caption: What the table shows.
        columns: Column names.
        rows: One sequence of cells per row.
        text_columns: How many columns from the left hold text (left-aligned; the first one heads its row).
        folded: Whether the reader opens it with a click.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    text_columns: int = 1
    folded: bool = False
    block: ClassVar[str] = "table"


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG (from `plots`), with the words for those who cannot see it."""

    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Figures:
    """Drawings side by side where there is room."""

    items: Sequence[Figure]
    block: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Picture:
    """A PNG with the words for those who cannot see it."""

    png: bytes
    alt: str
    caption: str = ""

    @property
    def data(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Gallery:
    """Pictures in rows of `columns`, with a heading of their own.

    Attributes:
        pictures: Row by row.
        title: Heading.
        detail: A line under the heading.
        columns: Pictures per row where there is room.
    """

    pictures: Sequence[Picture]
    title: str = ""
    detail: str = ""
    columns: int = 3
    block: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Legend:
    """What colours mean: name -> '#rrggbb'."""

    items: Mapping[str, str]
    block: ClassVar[str] = "legend"


Block = Text | Facts | Cards | Table | Figures | Gallery | Legend


@dataclass(frozen=True)
class Section:
    """A heading with blocks under it.

    Attributes:
        title: Heading.
        blocks: What stands under it, in order.
        intro: A paragraph before the blocks.
        folded: Whether the reader opens it with a click.
    """

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    intro: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Curve:
    """Lines over a common axis: losses over steps, validation scores over minutes.

    Attributes:
        title: What is drawn.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
        lines: Name -> (x values, y values); nan breaks a line.
        log_y: Whether the vertical axis is logarithmic.
        y_range: Fixed ends of the vertical axis, for scores of 0..1 for instance.
        note: A line under the drawing.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    log_y: bool = False
    y_range: tuple[float, float] | None = None
    note: str = ""
