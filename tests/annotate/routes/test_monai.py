"""The calls that MONAI Label's public client and its plug-ins make: method, path, query and bytes of the body."""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx
import numpy as np
import pytest

from medcl.data.dataset import Dataset
from medcl.data.geometry import Geometry, Image
from medcl.data.io import read_geometry, read_image, read_map, write_image, write_map

SIZE = (6, 8, 10)
LIMIT = "----------lImIt_of_THE_fIle_eW_$"


class PublicClient:
    """Sends what the public Python client and the 3D Slicer plug-in send, byte for byte."""

    def __init__(self, http: Any) -> None:
        self.http = http

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """Send a JSON body with its own length, as `http_method` does."""
        if body is None:
            return self.http.request(method, "/monai" + path)
        text = json.dumps(body)
        headers = {"content-type": "application/json", "content-length": str(len(text))}
        return self.http.request(method, "/monai" + path, content=text, headers=headers)

    def send(self, method: str, path: str, fields: dict[str, str], files: dict[str, Path]) -> httpx.Response:
        """Send a form as `http_multipart` does: file names are whole paths there."""
        body = bytearray()
        for key, value in fields.items():
            body += f'--{LIMIT}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, path_ in files.items():
            body += f'--{LIMIT}\r\nContent-Disposition: form-data; name="{key}"; filename="{path_}"\r\n'.encode()
            body += b"Content-Type: application/octet-stream\r\n\r\n" + path_.read_bytes() + b"\r\n"
        body += f"--{LIMIT}--\r\n\r\n".encode()
        headers = {"content-type": f"multipart/form-data; boundary={LIMIT}", "content-length": str(len(body))}
        return self.http.request(method, "/monai" + path, content=bytes(body), headers=headers)


@pytest.fixture
def public(world: Any) -> PublicClient:
    return PublicClient(world.client)


def parts_of(answer: httpx.Response) -> dict[str, tuple[str | None, bytes]]:
    """Return name -> (file name, content) of a multipart answer."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + answer.content)
    return {
        str(part.get_param("name", header="content-disposition")): (part.get_filename(), part.get_payload(decode=True))
        for part in message.iter_parts()
    }


def some_mask() -> np.ndarray:
    array = np.zeros(SIZE, np.uint8)
    array[2, 3:5, 4:8] = 2
    return array


def test_info_and_datastore(world: Any, public: PublicClient) -> None:
    info = public.call("GET", "/info/").json()
    assert info["labels"] == ["RV", "LV"]  # no background: 3D Slicer numbers segments in this order
    assert info["models"] == {}  # nothing is trained
    assert set(info["strategies"]) >= {"random", "entropy-rarity"}
    assert (info["datastore"]["total"], info["datastore"]["completed"]) == (4, 0)
    number = world.predict("plain", some_mask())
    world.review("plain", "accept", prediction=number)
    info = public.call("GET", "/info/").json()
    assert info["models"]["medcl"]["type"] == "segmentation"
    assert info["models"]["medcl"]["labels"] == {"RV": 1, "LV": 2}
    assert info["train_stats"]["medcl"]["best_metric"] == 0.5
    assert public.call("GET", "/datastore/").json()["label_tags"] == {"final": 1, "original": 1}
    objects = public.call("GET", "/datastore/?output=all").json()["objects"]
    assert set(objects["plain"]["labels"]) == {"original", "final"}
    assert objects["oblique"]["labels"] == {}
    assert public.call("GET", "/datastore/?output=train").json() == [{"image": "plain", "label": "plain"}]


def test_the_token_travels_as_a_password(world: Any, public: PublicClient) -> None:
    from medcl.annotate.app import create_app  # noqa: F401 - the application under test

    bare = PublicClient(httpx_without_token(world.client))
    assert bare.call("GET", "/info/").status_code == 401
    assert bare.call("GET", "/auth/").json()["enabled"] is True
    token = world.client.headers["authorization"].removeprefix("Bearer ")

    def sign_in(password: str) -> httpx.Response:
        form = urlencode({"username": "anna", "password": password, "grant_type": "password"})
        headers = {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(form))}
        return bare.http.request("POST", "/monai/auth/token", content=form, headers=headers)

    assert sign_in("guess").status_code == 401
    answer = sign_in(token).json()
    headers = {"Authorization": f"{answer['token_type']} {answer['access_token']}"}
    assert bare.http.request("GET", "/monai/auth/token/valid", headers=headers).status_code == 200
    assert bare.http.request("GET", "/monai/info/", headers=headers).status_code == 200


def httpx_without_token(client: Any) -> Any:
    from fastapi.testclient import TestClient

    return TestClient(client.app, base_url="http://127.0.0.1:8100")


def test_next_sample_and_its_image(world: Any, public: PublicClient, tmp_path: Path) -> None:
    sample = public.call("POST", "/activelearning/random", {"client_id": "user-xyz"}).json()
    assert sample["id"] in ("oblique", "plain", "ct")
    assert public.call("POST", "/activelearning/best", {"client_id": "x"}).status_code == 404
    path = world.folder / "imagesTr" / "oblique_0000.nii.gz"
    answer = public.call("GET", f"/datastore/image?image={quote_plus('oblique')}")
    assert answer.content == path.read_bytes()
    info = public.call("GET", "/datastore/image/info?image=oblique").json()
    assert info["checksum"] == "SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    converted = tmp_path / "ct.nii.gz"
    converted.write_bytes(public.call("GET", "/datastore/image?image=ct").content)
    source = read_image(world.folder / "imagesTr" / "ct_0000")
    np.testing.assert_array_equal(read_image(converted).array, source.array)
    assert source.geometry.differences(read_geometry(converted)) == []


def test_infer_as_the_python_client_and_as_ohif(world: Any, public: PublicClient, tmp_path: Path) -> None:
    fields = {"params": json.dumps({"client_id": None})}
    answer = public.send("POST", "/infer/medcl?image=oblique", fields, {})
    assert answer.status_code == 404
    assert "there is no model yet" in answer.json()["message"]
    world.predict("oblique", some_mask())
    world.draw("oblique", [(0, 0, 0)], 1)  # a stroke wins over the mask
    wanted = some_mask()
    wanted[0, 0, 0] = 1
    parts = parts_of(public.send("POST", "/infer/medcl?image=oblique", fields, {}))
    assert parts["params"][0] is None
    assert json.loads(parts["params"][1])["label_names"] == {"RV": 1, "LV": 2}
    name, content = parts["image"]
    path = tmp_path / str(name)
    path.write_bytes(content)
    array, geometry = read_map(path)
    np.testing.assert_array_equal(array, wanted)
    assert geometry.differences(read_geometry(world.folder / "imagesTr" / "oblique_0000.nii.gz")) == []
    asked = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False}
    form = {"params": (None, json.dumps(asked))}
    answer = world.client.post("/monai/infer/medcl?image=oblique&output=image", files=form)
    head, _, data = answer.content.partition(b"\n\n")
    assert b"encoding: raw" in head
    assert b"unsigned short" in head or b"type: uint16" in head
    np.testing.assert_array_equal(np.frombuffer(data, "<u2").reshape(SIZE), wanted)
    everything = parts_of(world.client.post("/monai/infer/medcl?image=oblique&output=all", files=form))
    assert everything["image"][0] == "label.nrrd"
    for path_, words in (
        ("/infer/sam?image=oblique", "unknown model 'sam'"),
        ("/infer/medcl?image=nobody", "unknown case"),
        ("/infer/medcl?image=oblique&session_id=1", "Sessions are not served"),
    ):
        answer = public.send("POST", path_, fields, {})
        assert answer.status_code in (404, 422)
        assert words in answer.json()["message"]


def test_submit_label_as_slicer_does(world: Any, public: PublicClient, tmp_path: Path) -> None:
    geometry = read_geometry(world.folder / "imagesTr" / "oblique_0000.nii.gz")
    sent = tmp_path / "label.nii.gz"
    write_map(sent, some_mask() // 2, geometry)  # Slicer numbers the segments that it sends: 1 is LV here
    params = {"label_info": [{"name": "LV", "idx": 1}], "client_id": "user-xyz"}
    answer = public.send("PUT", "/datastore/label?image=oblique", {"params": json.dumps(params)}, {"label": sent})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"image": "oblique", "label": "oblique"}
    dataset = Dataset.open(world.folder)
    case = next(entry for entry in dataset.cases("Tr") if entry.id == "oblique")
    np.testing.assert_array_equal(dataset.read_label(case), some_mask())
    assert world.client.get("/api/cases/oblique").json()["state"] == "reviewed"
    back = tmp_path / "back.nii.gz"
    back.write_bytes(public.call("GET", "/datastore/label?label=oblique&tag=final").content)
    np.testing.assert_array_equal(read_map(back)[0], some_mask())  # class indices, whatever dataset.json's values are
    shifted = tmp_path / "shifted.nii.gz"
    write_map(shifted, some_mask() // 2, Geometry(SIZE, (3.0, 0.75, 0.5)))
    for path, params, words in (
        (sent, {"label_info": [{"name": "LV", "idx": 2}]}, "is number 1 of those sent, but its idx is 2"),
        (sent, {"label_info": [{"name": "liver", "idx": 1}]}, "unknown label 'liver'; known: RV, LV"),
        (sent, {"label_info": 3}, "expected a list"),
        (shifted, {"label_info": [{"name": "LV", "idx": 1}]}, "expected the grid of case oblique"),
    ):
        fields = {"params": json.dumps(params)}
        answer = public.send("PUT", "/datastore/label?image=oblique", fields, {"label": path})
        assert answer.status_code == 422, answer.text
        assert words in answer.json()["message"]


def test_upload_image(world: Any, public: PublicClient, tmp_path: Path) -> None:
    image = tmp_path / "new.nii.gz"
    write_image(image, Image(np.arange(480, dtype=np.int16).reshape(1, *SIZE), Geometry(SIZE, (2.0, 1.0, 1.0))))
    answer = public.send("PUT", "/datastore/?image=new", {"params": "{}"}, {"file": image})
    assert answer.json() == {"image": "new"}
    assert (world.folder / "imagesTr" / "new_0000.nii.gz").read_bytes() == image.read_bytes()
    assert "new" in {case["id"] for case in world.client.get("/api/cases").json()}
    assert public.send("PUT", "/datastore/?image=new", {"params": "{}"}, {"file": image}).status_code == 409
    for name in ("../evil", "..", "a/b", ".hidden", "x" * 150, "scan_0001", "%00"):
        answer = public.send("PUT", f"/datastore/?image={quote_plus(name)}", {"params": "{}"}, {"file": image})
        assert answer.status_code == 422, name
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(image.read_bytes()[:100])
    answer = public.send("PUT", "/datastore/?image=broken", {"params": "{}"}, {"file": broken})
    assert answer.status_code == 422
    assert str(world.folder) not in answer.text
    assert sorted(path.name for path in (world.folder / ".medcl" / "cache").glob("upload-*")) == []


def test_train_logs_and_sessions(world: Any, public: PublicClient) -> None:
    assert public.call("GET", "/train/?check_if_running=true").status_code == 404
    assert public.call("POST", "/train/other", {"client_id": "x"}).status_code == 404
    assert public.call("POST", "/train/medcl", {"minutes": "long"}).status_code == 422
    assert public.call("DELETE", "/train/").status_code == 404
    world.draw("plain", [(0, 0, 0)], 1)
    assert "case stroke plain" in world.client.get("/monai/logs/?lines=200").text
    for method, path in (("GET", "/session/abc"), ("DELETE", "/session/abc"), ("PUT", "/session/")):
        assert public.call(method, path).status_code == 406
