"""What reviews, exports, uploads and viewers add to the ways in: none leads out of the folder or tells a secret."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from medcl.annotate.app import create_app
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image

TOKEN = "a-token-for-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def anybody(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8765")


def a_volume(path: Path) -> bytes:
    write_image(path, Image(np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5), Geometry((3, 4, 5))))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/monai/info/"),
        ("GET", "/monai/auth/token/valid"),
        ("GET", "/monai/auth/token"),
        ("POST", "/monai/auth/"),
        ("GET", "/monai/auth/../info/"),
        ("GET", "/monai//auth/"),
        ("PUT", "/monai/datastore/?image=x"),
        ("DELETE", "/monai/train/"),
        ("GET", "/api/export.zip"),
        ("GET", "/api/report.html"),
        ("POST", "/api/cases/upright/review"),
    ],
)
def test_only_the_question_for_a_token_is_open(client: TestClient, app: FastAPI, method: str, path: str) -> None:
    answer = anybody(app).request(method, path)
    assert answer.status_code in (401, 405)
    assert TOKEN not in answer.text


def test_signing_in_takes_small_bodies_of_this_host_alone(client: TestClient, app: FastAPI) -> None:
    caller = anybody(app)
    assert caller.get("/monai/auth/").status_code == 200
    big = caller.post("/monai/auth/token", data={"username": "a", "password": "x" * 50_000})
    assert big.status_code == 413
    wrong = caller.post("/monai/auth/token", data={"username": "a", "password": "guess"})
    assert wrong.status_code == 401
    assert "guess" not in wrong.text
    assert caller.get("/monai/auth/", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/cases/upright/review"),
        ("PUT", "/monai/datastore/?image=x"),
        ("PUT", "/monai/datastore/label?image=upright"),
        ("POST", "/monai/train/medcl"),
        ("DELETE", "/monai/train/"),
    ],
)
def test_other_pages_cannot_use_the_cookie(client: TestClient, app: FastAPI, method: str, path: str) -> None:
    caller = anybody(app)
    caller.get(f"/?token={TOKEN}", follow_redirects=False)
    assert caller.get("/api/project").status_code == 200  # the cookie is there
    assert caller.request(method, path).status_code == 403
    foreign = {"X-Medcl": "1", "Origin": "https://evil.example"}
    assert caller.request(method, path, headers=foreign).status_code == 403
    assert "access-control-allow-origin" not in caller.request("OPTIONS", path, headers=foreign).headers


def test_uploads_stay_inside_even_through_links(folder: Path, tmp_path: Path) -> None:
    content = a_volume(tmp_path / "made-up.nii.gz")
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (folder / "imagesTr").rename(tmp_path / "kept")
    (folder / "imagesTr").symlink_to(tmp_path / "kept")
    app = create_app(folder, token=TOKEN, links=[tmp_path / "kept"])
    with TestClient(app, base_url="http://127.0.0.1:8765", headers=HEADERS) as caller:
        answer = caller.put("/monai/datastore/?image=new", files={"file": ("new.nii.gz", io.BytesIO(content))})
        assert answer.status_code == 422
        assert "leads out of the data set" in answer.json()["message"]
        assert str(tmp_path) not in answer.text
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["oblique_0000.nii.gz", "upright_0000.nii.gz"]


def test_a_link_in_the_images_is_not_handed_out(folder: Path, tmp_path: Path, client: TestClient) -> None:
    secret = tmp_path / "secret.nii.gz"
    a_volume(secret)
    (folder / "imagesTr" / "leak_0000.nii.gz").symlink_to(secret)
    for path in ("/monai/datastore/image?image=leak", "/api/cases/leak/export", "/monai/datastore/?output=all"):
        answer = client.get(path)
        assert answer.status_code in (404, 422)
        assert answer.content != secret.read_bytes()


def test_the_report_cannot_carry_a_script(folder: Path, client: TestClient) -> None:
    name = "<script>alert(1)</script>"
    body = {"id": "00000000-0000-4000-8000-000000000001", "base_version": 0, "value": 1, "runs": [5, 3]}
    author = {"X-Medcl-Author": quote(name)}
    answer = client.post("/api/cases/upright/strokes", json=body, headers=author)
    assert answer.status_code == 200
    report = client.get("/api/report.html")
    assert name not in report.text
    assert "&lt;script&gt;alert(1)" in report.text
    policy = report.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "default-src 'none'" in policy


def test_secrets_are_not_written_anywhere(
    folder: Path, client: TestClient, app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caller = anybody(app)
    caller.get(f"/?token={TOKEN}", follow_redirects=False)
    caller.post("/monai/auth/token", data={"username": "a", "password": TOKEN})
    client.get("/api/cases/nobody")
    client.get("/monai/logs/")
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]  # the callers'
    assert all(TOKEN not in record.getMessage() for record in ours)
    for path in folder.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
