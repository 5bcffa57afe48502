import json
import os
import stat
from pathlib import Path

import pytest

from medcl.errors import DataError
from medcl.files import atomic_folder, atomic_folders, atomic_write, check_place, file_digest, read_json, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "scores.csv"
    with atomic_write(target) as temporary:
        temporary.write_text("dice\n0.9\n", encoding="utf-8")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.name.endswith("scores.csv")
    assert target.read_text(encoding="utf-8") == "dice\n0.9\n"
    assert [path.name for path in target.parent.iterdir()] == ["scores.csv"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), atomic_write(target) as temporary:
        temporary.write_text(f"half {1 // 0}", encoding="utf-8")
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_gets_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "a.bin") as temporary:
        temporary.touch(mode=0o600)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a.bin")]
    assert modes[0] == modes[1]


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none was"), atomic_write(tmp_path / "a.txt"):
        pass


def test_a_place_for_results_is_checked_without_making_it(tmp_path: Path) -> None:
    check_place(tmp_path)
    check_place(tmp_path / "new" / "newer")
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="file is a file; choose another place"):
            check_place(place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_replaces_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("one", "two"):
        with atomic_folder(target) as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / "weights").write_text(content, encoding="utf-8")
        assert (target / "deep" / "weights").read_text(encoding="utf-8") == content
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), atomic_folder(target):
        raise ZeroDivisionError
    assert (target / "weights").read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_take_their_places_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for folder in (one, three):
        folder.mkdir()
        (folder / "old").touch()

    def content() -> dict[str, list[str]]:
        return {folder.name: [path.name for path in folder.iterdir()] for folder in sorted(tmp_path.iterdir())}

    def write() -> None:
        with atomic_folders([one, two], gone=[three, tmp_path / "never"]) as (first, second):
            (first / "new").touch()
            (second / "new").touch()

    before, replace = content(), os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target) == two:
            raise OSError("no space left")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="no space"):
            write()
    assert content() == before == {"one": ["old"], "three": ["old"]}
    write()
    assert content() == {"one": ["new"], "two": ["new"]}


def test_a_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file", encoding="utf-8")
    with pytest.raises(DataError, match="expected a folder or nothing"), atomic_folder(tmp_path / "model"):
        pass


def test_json_goes_and_comes_back(tmp_path: Path) -> None:
    value = {"name": "Zoë", "spacing": [1.5, None], "deep": {"ok": True}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "Zoë" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes"])
def test_json_refuses_what_it_cannot_hold(tmp_path: Path, value: object) -> None:
    with pytest.raises(DataError, match=r"a\.json"):
        write_json(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"", b"[" * 200_000])
def test_broken_json_is_one_clear_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json") as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for function in (read_json, file_digest):
        with pytest.raises(DataError, match=r"none\.json"):
            function(tmp_path / "none.json")


def test_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")  # test vector of FIPS 180-2, appendix B.1
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_written_is_plain_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    assert list(json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))) == ["b", "a"]
