from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from annotate_tiny import ADDRESS, TOKEN, make_dataset, serving
from fastapi import FastAPI
from fastapi.testclient import TestClient

from medcl.annotate.app import create_app
from medcl.annotate.security import BODY_BYTES
from medcl.errors import DataError


@pytest.fixture
def browser(app: FastAPI) -> Iterator[TestClient]:
    """Return a caller without token."""
    with TestClient(app, base_url=ADDRESS, follow_redirects=False) as client:
        yield client


def stroke() -> dict:
    return {"id": str(uuid4()), "base_version": 0, "value": 1, "runs": [0, 5]}


@pytest.mark.parametrize("path", ["/", "/api/project", "/api/openapi.json", "/api/cases/upright/image.nii", "/x.js"])
def test_nothing_without_the_token(browser: TestClient, path: str) -> None:
    assert browser.get(path).status_code == 401
    assert browser.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert browser.get(path, headers={"Cookie": "medcl-8765=wrong"}).status_code == 401
    assert browser.get("/?token=wrong").status_code == 401


def test_the_address_gives_a_cookie_that_scripts_and_other_pages_cannot_use(browser: TestClient) -> None:
    answer = browser.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert browser.get("/api/project").status_code == 200
    path = "/api/cases/upright/strokes"
    assert browser.post(path, json=stroke()).status_code == 403  # no X-Medcl
    own = {"X-Medcl": "1"}
    assert browser.post(path, json=stroke(), headers={**own, "Origin": "http://evil.example"}).status_code == 403
    assert browser.post(path, json=stroke(), headers={**own, "Origin": "null"}).status_code == 403
    assert browser.post(path, json=stroke(), headers={**own, "Origin": ADDRESS}).status_code == 200


def test_cookies_of_servers_on_other_ports_are_apart(browser: TestClient) -> None:
    headers = {"Host": "127.0.0.1:9000", "Cookie": f"medcl-8765={TOKEN}"}
    assert browser.get("/api/project", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8765", 200),
        ("[::1]:8765", 200),
        ("192.168.1.7", 200),
        ("annotate.example", 200),
        ("ANNOTATE.example:80", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_only_known_host_names(folder: Path, host: str, status: int) -> None:
    with serving(create_app(folder, token=TOKEN, hosts=["annotate.example"])) as client:
        assert client.get("/api/project", headers={"Host": host}).status_code == status


def test_every_answer_tells_browsers_to_be_strict(client: TestClient) -> None:
    for path in ("/api/project", "/api/nothing", "/api/cases/upright/image.nii", "/"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


def test_bodies_have_a_size(client: TestClient) -> None:
    path = "/api/cases/upright/strokes"
    assert client.post(path, content=b"x" * (BODY_BYTES + 1)).status_code == 413

    def parts() -> Iterator[bytes]:  # no Content-Length: found while it comes
        for _ in range(BODY_BYTES // (1 << 20) + 2):
            yield b" " * (1 << 20)

    answer = client.post(path, content=parts(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert "at most" in answer.json()["message"]
    assert client.post(path, content=b"{", headers={"Content-Length": "-5"}).status_code in (400, 413)


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff\xfe", b'{"id": "\xed\xa0\x80"}', b"[" * 100_000])
def test_bodies_that_are_no_strokes(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/cases/upright/strokes", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["message"]


@pytest.mark.parametrize(
    "name", ["../dataset.json", "..%2fdataset.json", "%2e%2e/x", "/etc/passwd", "upright%00", "a\\b"]
)
def test_case_names_are_looked_up_never_joined(client: TestClient, name: str) -> None:
    for part in ("image.nii", "scribble.nii", "strokes", "thumbnail.png"):
        answer = client.get(f"/api/cases/{name}/{part}")
        assert answer.status_code in (401, 404), answer.text
        assert "/etc" not in json.dumps(answer.json()).replace(name, "")


def test_links_out_of_the_folder_are_refused_unless_named(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    secret = tmp_path / "elsewhere" / "secret_0000.nii.gz"
    secret.parent.mkdir()
    os.rename(folder / "imagesTr" / "upright_0000.nii.gz", secret)
    (folder / "imagesTr" / "upright_0000.nii.gz").symlink_to(secret)
    with pytest.raises(DataError, match=r"imagesTr/upright_0000\.nii\.gz: a link that leads out .* --links"):
        create_app(folder, token=TOKEN)
    with serving(create_app(folder, token=TOKEN, links=[secret.parent])) as client:
        assert client.get("/api/cases/upright/image.nii").status_code == 200


def test_links_out_of_a_dicom_folder_are_refused_whenever_they_come(tmp_path: Path, complete_dicom) -> None:  # type: ignore[no-untyped-def]
    folder = make_dataset(tmp_path / "tiny")
    series = folder / "imagesTr" / "ct_0000"
    complete_dicom(series, np.zeros((3, 8, 8), int))
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    first = sorted(series.iterdir())[0]
    app = create_app(folder, token=TOKEN)
    assert app.state.context.case("ct").images == (series,)
    first.rename(outside / "secret.dcm")
    first.symlink_to(outside / "secret.dcm")
    with pytest.raises(DataError, match=rf"imagesTr/ct_0000/{re.escape(first.name)}: a link that leads out .* --links"):
        app.state.context.case("ct")
    with pytest.raises(DataError, match="a link that leads out"):
        create_app(folder, token=TOKEN)
    create_app(folder, token=TOKEN, links=[outside])


def test_strokes_are_never_written_through_a_link(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    (tmp_path / "elsewhere").mkdir()
    app = create_app(folder, token=TOKEN)
    with serving(app) as client:
        (folder / "scribblesTr").symlink_to(tmp_path / "elsewhere")
        refused = client.post("/api/cases/upright/strokes", json=stroke())
        assert (refused.status_code, "link" in refused.json()["message"]) == (422, True)
        (folder / "scribblesTr").unlink()
        assert client.post("/api/cases/upright/strokes", json=stroke()).status_code == 200
        (folder / "scribblesTr").symlink_to(tmp_path / "elsewhere")  # after it was kept, before it is written
        with pytest.raises(DataError, match="link"):
            app.state.context.flush()
        (folder / "scribblesTr").unlink()
        app.state.context.flush()
        assert (folder / "scribblesTr" / "upright.nii.gz").is_file()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_state_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    (tmp_path / "elsewhere").mkdir()
    (folder / ".medcl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="link"):
        create_app(folder, token=TOKEN)


def test_a_state_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    (folder / ".medcl").write_text("in the way", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be made"):
        create_app(folder, token=TOKEN)


@pytest.mark.parametrize("token", ["short", "with spaces and more", "semi;colon;semi;colon", "ünlaut" * 4, ""])
def test_tokens_that_can_be_guessed_or_do_not_fit_are_refused(folder: Path, token: str) -> None:
    with pytest.raises(DataError, match="at least 16"):
        create_app(folder, token=token)


def test_tokens_are_random(folder: Path) -> None:
    first, second = create_app(folder).state.token, create_app(folder).state.token
    assert first != second
    assert len(first) >= 32
