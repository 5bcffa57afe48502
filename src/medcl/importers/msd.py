"""Tasks of the Medical Segmentation Decathlon; each brings a `dataset.json` that says what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from medcl.data.layout import Split, split_ending
from medcl.errors import DataError
from medcl.files import read_json
from medcl.importers import register
from medcl.importers.base import Content, Facts, Findings, Importer, Study
from medcl.importers.tree import Tree
from medcl.importers.volumes import File, Series, Volume


@register("msd")
class Decathlon(Importer):
    """Any task: counts, channels, label values and files are those of its own `dataset.json`."""

    facts: ClassVar[Facts] = Facts(
        title="Medical Segmentation Decathlon, any of the ten tasks",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13, 4128, 2022; Simpson "
        "et al., arXiv:1902.09063",
        where="http://medicaldecathlon.com",
        layout="Task04_Hippocampus/{dataset.json, imagesTr/*.nii.gz, labelsTr/*.nii.gz, imagesTs/*.nii.gz}",
        sources=("http://medicaldecathlon.com/index.html (licence)", "dataset.json of Task04_Hippocampus (its keys)"),
    )

    def content(self, tree: Tree) -> Content:
        """Return what the task's `dataset.json` names."""
        task = _task(tree)[1]
        values = {int(value): str(name) for value, name in task["labels"].items()}
        values = {value: "background" if value == 0 else name for value, name in sorted(values.items())}
        channels = tuple(str(task["modality"][str(index)]) for index in range(len(task["modality"])))
        return Content(channels, tuple(name for value, name in values.items() if value), values)

    def find(self, tree: Tree, findings: Findings) -> list[Study]:
        """Return the cases that `dataset.json` lists."""
        root, task = _task(tree)
        channels = len(task["modality"])
        training = [(str(entry["image"]), str(entry["label"])) for entry in task["training"]]
        listed = [*(("Tr", image, label) for image, label in training), *(("Ts", str(i), None) for i in task["test"])]
        for key, part in (("numTraining", "Tr"), ("numTest", "Ts")):
            number = sum(entry[0] == part for entry in listed)
            if task.get(key, number) != number:
                findings.errors.append(f"{root}/dataset.json: says {key} {task[key]}, but lists {number} cases.")
        studies: list[Study] = []
        absent: dict[Split, list[str]] = {"Tr": [], "Ts": []}
        for part, image, label in listed:
            split: Split = "Tr" if part == "Tr" else "Ts"
            case = split_ending(Path(image).name)[0]
            needed = [root / image, *([root / label] if label else [])]
            lacking = [path for path in needed if not path.is_file()]
            if len(lacking) == len(needed):
                absent[split].append(case)
            elif lacking:
                findings.missing(case, str(lacking[0]))
            else:
                volume: Volume = Series(root / image) if channels > 1 else File(root / image)
                studies.append(Study(case, split, (volume,), File(root / label) if label else None))
        for split, names in absent.items():
            what = "training" if split == "Tr" else "test"
            findings.check_complete(f"{what} cases", [s.id for s in studies if s.split == split],
                                    [*names, *(s.id for s in studies if s.split == split)])  # fmt: skip
        return studies


def _task(tree: Tree) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the one task that is there, and its description."""
    found = [path for _, path in tree.match(r"dataset\.json")]
    if len(found) != 1:
        names = ", ".join(path.parent.name for path in found) or "none"
        raise DataError(
            f"{tree.root}: expected one task with its dataset.json, got {len(found)} ({names}); pass the folder of one."
        )
    task = read_json(found[0])
    for key, kind in (("labels", dict), ("modality", dict), ("training", list), ("test", list)):
        if not isinstance(task, dict) or not isinstance(task.get(key), kind):
            raise DataError(f'{found[0]}: expected "{key}" as the Decathlon writes it; download the task again.')
    if not all(str(value).lstrip("-").isdigit() for value in task["labels"]):
        raise DataError(f'{found[0]}: expected "labels" of value -> name; this folder may be imported already.')
    return found[0].parent, task
