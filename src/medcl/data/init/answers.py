"""What the values mean: the user's answers, the questions that are still open, and the `dataset.json` they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from medcl.data.init.survey import Survey, ValueCount
from medcl.data.labels import BACKGROUND, IGNORE
from medcl.errors import DataError

Meaning = int | Literal["none"] | None
"""A file value; 'none': no value means this; None: not answered."""


@dataclass(frozen=True)
class Answers:
    """What the user says about the values.

    The first three are about scribbles, and about dense labels too unless the next three say otherwise. In a folder
    without scribbles they are about the dense labels.

    Attributes:
        background: Value of background (of background strokes); 'none' where nobody drew any.
        ignore: Value of *not annotated*.
        classes: Value -> name of the structure.
        label_background: Value of background in dense labels; must be answered where the dense labels hold the value
            that means *not drawn* in scribbles, because it can not mean the same there without somebody saying so.
        label_ignore: Value of *not annotated* in dense labels.
        label_classes: Value -> name in dense labels, where it differs from or adds to `classes`.
        channels: Channel names.
    """

    background: Meaning = None
    ignore: Meaning = None
    classes: Mapping[int, str] = field(default_factory=dict)
    label_background: Meaning = None
    label_ignore: Meaning = None
    label_classes: Mapping[int, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """Something that only the user knows.

    Attributes:
        key: Field of `Answers`.
        value: For names of classes: the file value to be named.
        option: Command line option that answers it.
        text: The question.
        proposal: An answer that may be right, or None.
        reason: Why it is proposed.
    """

    key: str
    value: int | None
    option: str
    text: str
    proposal: str | None = None
    reason: str = ""


def percent(share: float) -> str:
    """Write a share so that a rare value does not look like none: '95.7 %', '0.003 %'."""
    return f"{100 * share:.1f} %" if share >= 0.001 else f"{100 * share:.2g} %"


def open_questions(found: Survey, answers: Answers) -> list[Question]:
    """List what is not answered yet; a later question may depend on the answer to an earlier one."""
    drawn = "scribbles" in found.values
    main = found.values.get("scribbles") or found.values.get("labels", ())
    questions: list[Question] = []
    if main:
        questions += _about_values(main, answers, drawn)
    if drawn and "labels" in found.values and not questions:
        questions += _about_labels(found.values["labels"], answers)
    if not answers.channels:
        proposal, reason = ("R,G,B", "colour pictures") if found.colour and found.channels == 3 else (None, "")
        text = "Name of the image channel" if found.channels == 1 else f"Names of the {found.channels} image channels"
        hint = "such as CT, LGE, T1; CT is kept in Hounsfield units"
        questions.append(Question("channels", None, "--channels", f"{text} ({hint})", proposal, reason))
    return questions


def _about_values(counts: tuple[ValueCount, ...], answers: Answers, drawn: bool) -> list[Question]:
    questions: list[Question] = []
    largest = max(counts, key=lambda count: count.voxels)
    covers = f"value {largest.value} covers {percent(largest.share)} of the pixels"
    clear = largest.share > 0.5
    if drawn and answers.ignore is None:
        proposal = str(largest.value) if clear and largest.value != answers.background else None
        text = "Which value in the scribbles means 'nothing drawn here' (ignore)"
        questions.append(Question("ignore", None, "--ignore", text, proposal, covers if proposal else ""))
    if answers.background is None:
        if drawn:
            taken = largest.value if questions and clear else answers.ignore
            proposal = "0" if taken != 0 and any(count.value == 0 for count in counts) else None
            text, reason = "Which value is a background stroke ('none' if nobody drew any)", "0 is the usual value"
        else:
            proposal, text, reason = str(largest.value) if clear else None, "Which value is background", covers
        questions.append(Question("background", None, "--background", text, proposal, reason if proposal else ""))
    if not questions:
        questions = _names("classes", "--class", counts, answers.classes, (answers.background, answers.ignore))
    return questions


def _names(
    key: str, option: str, counts: tuple[ValueCount, ...], names: Mapping[int, str], taken: tuple[Meaning, ...]
) -> list[Question]:
    return [
        Question(
            key,
            count.value,
            option,
            f"Name of value {count.value} ({percent(count.share)}, in {count.files} files; 'ignore' for not annotated)",
        )
        for count in counts
        if count.value not in taken and count.value not in names
    ]


def _about_labels(counts: tuple[ValueCount, ...], answers: Answers) -> list[Question]:
    background, ignore, names = _dense_meaning(counts, answers)
    if background is None:
        largest = max(counts, key=lambda count: count.voxels)
        clear = largest.share > 0.5 and largest.value not in answers.classes
        reason = f"value {largest.value} covers {percent(largest.share)} of the dense labels" if clear else ""
        text = "Which value is background in the dense labels"
        proposal = str(largest.value) if clear else None
        return [Question("label_background", None, "--label-background", text, proposal, reason)]
    return _names("label_classes", "--label-class", counts, names, (background, ignore))


def _dense_meaning(counts: tuple[ValueCount, ...], answers: Answers) -> tuple[Meaning, Meaning, dict[int, str]]:
    """Return background (None: to be asked), ignore and names of dense labels where there are scribbles too.

    The dense labels share the encoding of the scribbles as far as no value would be read as *not drawn* by it.
    """
    clash = answers.ignore in {count.value for count in counts}
    background, ignore = answers.label_background, answers.label_ignore
    if background is None and not clash and answers.background != "none":
        background = answers.background
    if ignore is None:
        ignore = answers.ignore if background == answers.background and not clash else "none"
    moved = set(answers.label_classes.values())
    names = {value: name for value, name in answers.classes.items() if name not in moved}
    return background, ignore, {**names, **answers.label_classes}


def answer(answers: Answers, question: Question, text: str) -> Answers:
    """Take the text that a user typed for a question.

    Raises:
        DataError: It is not an integer (or 'none'), not a new name, or not a list of names.
    """
    text = text.strip()
    if question.key == "channels":
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        if not names:
            raise DataError("expected names of channels, separated by commas.")
        return replace(answers, channels=names)
    change: dict[str, Any]
    if question.key in ("classes", "label_classes"):
        known = getattr(answers, question.key)
        value = cast(int, question.value)
        if text.lower() == IGNORE:
            change = {"ignore" if question.key == "classes" else "label_ignore": value}
            return replace(answers, **change)
        if not text or text.lower() == BACKGROUND or text in known.values():
            raise DataError(f"expected a new name of a structure (or 'ignore'), got '{text}'.")
        change = {question.key: {**known, value: text}}
        return replace(answers, **change)
    change = {question.key: parse_meaning(text, question.option)}
    return replace(answers, **change)


def parse_meaning(text: str, where: str) -> Meaning:
    """Read an integer or 'none'.

    Raises:
        DataError: It is neither.
    """
    if text.strip().lower() == "none":
        return "none"
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{where}: expected an integer or 'none', got '{text}'.") from None


def label_content(found: Survey, answers: Answers) -> dict[str, Any]:
    """Write `labels`, and `scribble_labels` where the scribbles have an encoding of their own.

    Raises:
        DataError: Answers that contradict each other, or a value used twice.
    """
    if "scribbles" in found.values and answers.ignore == "none":
        raise DataError("--ignore: scribbles need a value where nothing is drawn, got 'none'; dense maps are --labels.")
    strokes = _table(answers.background, answers.ignore, answers.classes, "scribbles")
    if "scribbles" in found.values and "labels" in found.values:
        background, ignore, names = _dense_meaning(found.values["labels"], answers)
        if background == "none":
            raise DataError("--label-background: dense labels need a value of background, got 'none'.")
        dense = _table(background, ignore, names, "dense labels")
        same = strokes.items() <= dense.items()
        return {"labels": dense} if same else {"labels": dense, "scribble_labels": strokes}
    if answers.background != "none":
        return {"labels": strokes}
    if "labels" in found.values:
        raise DataError("--background: dense labels need a value of background, got 'none'.")
    # No file holds background, so its value is free; it is what a later dense label or prediction will hold.
    free = next(value for value in range(len(answers.classes) + 1) if value not in answers.classes)
    return {"labels": _table(free, None, answers.classes, "labels"), "scribble_labels": strokes}


def _table(background: Meaning, ignore: Meaning, classes: Mapping[int, str], what: str) -> dict[str, int]:
    pairs: list[tuple[str, Meaning]] = [(BACKGROUND, background)]
    pairs += [(name, value) for value, name in sorted(classes.items())]
    pairs.append((IGNORE, ignore))
    table: dict[str, int] = {}
    for name, value in pairs:
        if value is None or value == "none":
            continue
        if value in table.values():
            other = next(known for known, number in table.items() if number == value)
            raise DataError(f"{what}: value {value} is '{other}' and '{name}'; each value has one meaning.")
        if name in table:
            raise DataError(f"{what}: two values are called '{name}'; use one value per structure.")
        table[name] = value
    return table
