"""The page's TypeScript says the same words as the server's schemas; the built page keeps to the server's policy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from medcl.annotate import schemas

ROOT = Path(__file__).parents[3]
INTERFACES = {
    name: (base, body)
    for name, base, body in re.findall(
        r"export interface (\w+)(?: extends (\w+))? \{\n(.*?)\n\}",
        (ROOT / "web/src/net/types.ts").read_text(encoding="utf-8"),
        re.DOTALL,
    )
}
MODELS = [
    model
    for model in vars(schemas).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model.__name__ not in ("BaseModel", "Said")
]


def fields(name: str) -> list[str]:
    """Return the fields of an interface of the page, those that it inherits first."""
    base, body = INTERFACES[name]
    return [*(fields(base) if base else []), *re.findall(r"^  (\w+): ", body, re.MULTILINE)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_page_knows_every_field(model: type[BaseModel]) -> None:
    assert model.__name__ in INTERFACES, f"web/src/net/types.ts lacks {model.__name__}"
    assert fields(model.__name__) == list(model.model_fields)


@pytest.mark.parametrize("name", ["CaseState", "Plane", "Tool", "JobKind", "JobState"])
def test_the_page_knows_every_word(name: str) -> None:
    line = re.search(rf"export type {name} = (.*)", (ROOT / "web/src/net/types.ts").read_text(encoding="utf-8"))
    assert line is not None
    assert tuple(re.findall(r'"(\w+)"', line[1])) == getattr(schemas, name).__args__


def test_the_built_page_has_no_inline_code() -> None:
    page = ROOT / "src/medcl/annotate/page"
    index = (page / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", index)
    for address in re.findall(r'(?:src|href)="([^"#]+)"', index):
        assert address.startswith("./")
        assert (page / address).is_file()


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((ROOT / "web/package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert len(packages) > 10
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in packages.items() if name)
