"""Lists that are written and read again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medcl.errors import DataError
from medcl.queries.listing import ListedPlace, PlaceList, read_list, write_list


def content(**changes: object) -> PlaceList:
    place = ListedPlace(
        rank=1, case="a, b", plane="axial", slice=2, file_axis="z", file_slice=3, class_index=1, class_name="RV",
        place=(4, 5, 2), box=((0, 9), (1, 8), (2, 3)), score=0.5, cost_s=6.5, total_s=6.5, reason='RV, "odd", why',
    )  # fmt: skip
    return PlaceList(dataset="d", classes=("background", "RV"), strategy="entropy", places=(place,)).model_copy(
        update=changes
    )


def test_what_is_written_is_read_from_file_or_folder(tmp_path: Path) -> None:
    path, table = write_list(tmp_path, content())
    assert read_list(path) == read_list(tmp_path) == content()
    (row,) = csv.DictReader(table.open(encoding="utf-8"))
    assert (row["case"], row["slice"], row["i"], row["box"]) == ("a, b", "2", "4", "0:9 1:8 2:3")
    assert row["reason"] == 'RV, "odd", why'
    assert row["picture"] == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.update(format=2), "expected a list of format 1, got 2"),
        (lambda told: told.pop("places"), "expected a list of places as medcl suggest writes it"),
        (lambda told: told["places"][0].pop("case"), "places.0.case"),
        (lambda told: told["places"][0].update(slice=-1), "greater than or equal to 0"),
        (lambda told: told.update(colour="red"), "unknown setting 'colour'"),
    ],
)
def test_other_json_is_refused_in_one_sentence(tmp_path: Path, change: object, said: str) -> None:
    path, _ = write_list(tmp_path, content())
    told = json.loads(path.read_text(encoding="utf-8"))
    change(told)  # type: ignore[operator]
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_list(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_list(tmp_path / "none.json")
