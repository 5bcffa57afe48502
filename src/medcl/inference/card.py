"""The model card: what a model is, learned from and cannot know, for a human reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from medcl.data.plan import Plan


def model_card(info: Mapping[str, Any], plan: Plan) -> str:
    """Return the card as Markdown (Mitchell et al., Model Cards for Model Reporting, 2019, in short).

    Args:
        info: Values of `ModelInfo`.
        plan: The model's plan.
    """
    return "\n".join(_lines(info, plan)) + "\n"


def facts(info: Mapping[str, Any], plan: Plan) -> list[tuple[str, str]]:
    """Return what a model is as pairs of name and value, for the card and for `medcl info`."""
    groups = [f"{name} = {' + '.join(plan.classes[i] for i in members)}" for name, members in plan.groups.items()]
    z, y, x = plan.spacing_mm
    depth = "as stored" if z is None else f"{z:g}"
    found = [
        ("classes", ", ".join(f"{index} {name}" for index, name in enumerate(plan.classes))),
        ("groups", "; ".join(groups) or "none"),
        ("one piece", "; ".join(pieces_in_words(info.get("one_piece", ()), plan)) or "nothing known"),
        ("channels", ", ".join(f"{channel.name} ({channel.normalisation})" for channel in plan.channels)),
        ("works on", works_on(plan)),
        ("spacing (z, y, x)", f"{depth} x {y:g} x {x:g} mm"),
        ("orientation", plan.orientation),
        ("data set", plan.dataset),
        ("method", str(info["method"])),
        ("backbone", _with_settings(info["backbone"], info["backbone_settings"])),
        ("parameters", f"{info['parameters']:,}"),
        ("created", str(info["created"])),
        ("versions", ", ".join(f"{name} {version}" for name, version in info["versions"].items())),
    ]
    return found


def works_on(plan: Plan) -> str:
    """Return what the network sees, in words."""
    if plan.ndim == 3:
        return "volumes (3D)"
    words = "slices (2D)"
    if plan.context:
        how = "as channels" if plan.neighbours == "channels" else "weighed by attention"
        words = f"slices with {plan.context} neighbour(s) on each side {how} (2.5D)"
    return words if plan.views == ("z",) else f"{words} across {', '.join(plan.views)}, averaged"


def pieces_in_words(unions: Iterable[Iterable[int]], plan: Plan) -> list[str]:
    """Return the unions of classes by their group's name, or as 'RV + Myo'."""
    names = {frozenset(members): name for name, members in plan.groups.items()}
    return [
        names.get(frozenset(union)) or " + ".join(plan.classes[index] for index in union)
        for union in (tuple(union) for union in unions)
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings with dotted names; fractional numbers at four significant digits."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        else:
            yield name, f"{value:.4g}" if isinstance(value, float) else value


def _lines(info: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    yield f"# Segmentation model: {', '.join(plan.classes[1:])}"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in facts(info, plan):
        yield f"| {name} | {_cell(value)} |"
    for title, values in (("Scores", info["metrics"]), ("Training", info["history"]), ("Settings", info["settings"])):
        yield ""
        yield f"## {title}"
        yield ""
        leaves = list(flatten(values))
        if not leaves:
            yield "None recorded."
            continue
        yield "| name | value |"
        yield "|---|---|"
        for name, value in leaves:
            yield f"| {_cell(name)} | {_cell(value)} |"
    yield ""
    yield "## Use"
    yield ""
    yield "    medcl predict MODEL IMAGES --out DIR"
    yield ""
    yield "## Limits"
    yield ""
    yield (
        "Learned from the data set above and nothing else: other scanners, sequences, ages or diseases may need "
        "new strokes. Scores hold for the cases they were measured on. Not a medical device; a person must look at "
        "every mask."
    )


def _with_settings(name: str, settings: Mapping[str, Any]) -> str:
    chosen = ", ".join(f"{key}={value}" for key, value in flatten(settings))
    return f"{name} ({chosen})" if chosen else name


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
