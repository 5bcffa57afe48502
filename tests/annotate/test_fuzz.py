"""Every call that the OpenAPI document allows, and many that it does not: no 500, and nothing outside the folder."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from medcl.annotate import uploads
from medcl.annotate.app import create_app
from medcl.annotate.routes import jobs, monai
from medcl.data.dataset import Dataset
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image

schemathesis = pytest.importorskip("schemathesis", reason="needs the extra: pip install 'medcl[dev]'")
GenerationMode = pytest.importorskip("schemathesis.generation.modes").GenerationMode

TOKEN = "a-token-for-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
CASES = ["upright", "oblique", "held", "nobody", "..", ".medcl", "a\\b", "x" * 300]
_PLACES = {"case", "case_id", "image", "label"}


def tree(folder: Path) -> dict[str, str]:
    """Return path -> digest of all that lies under a folder, links not followed."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else "-"
        for path in folder.rglob("*")
    }


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Give the folder around the data set, and check afterwards that nothing but the data set changed in it."""
    (tmp_path / "secret.txt").write_text("not for you", encoding="utf-8")

    def others() -> dict[str, str]:
        return {path: digest for path, digest in tree(tmp_path).items() if not path.startswith(f"{tmp_path}/tiny")}

    before = others()
    yield tmp_path
    assert others() == before


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is started and nobody waits for one."""
    monkeypatch.setattr(jobs, "start_worker", lambda context: None)
    monkeypatch.setattr(monai, "PREDICT_SECONDS", 0.01)


@pytest.fixture
def api_schema(folder: Path, outside: Path, quiet: None) -> Any:
    """Return the server's own document, with names of cases that are there, are not, and should never be."""
    app = create_app(folder, token=TOKEN, hosts=["testserver"])
    document = app.openapi()
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in _PLACES and parameter["in"] in ("path", "query"):
                    parameter["schema"] = {"type": "string", "enum": CASES}
    app.openapi_schema = document
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=HEADERS)
    return schema.exclude(path="/api/events")  # an endless stream: its own tests read it


def test_no_call_breaks_the_server(api_schema: Any) -> None:
    tried, broken = 0, []
    for found in api_schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            problem = _first_problem(operation, mode)
            tried += 1
            if problem:
                broken.append(f"{operation.label}: {problem}")
    assert not broken
    assert tried > 60


def _first_problem(operation: Any, mode: Any) -> str:
    """Send some examples; return what is wrong with an answer, or ''."""
    problems = []

    @settings(max_examples=5, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        try:
            response = case.call(headers=HEADERS)
        except httpx.InvalidURL:
            return  # such a call cannot be made at all
        except Exception as error:  # one that left the server is the finding
            problems.append(f"{type(error).__name__} for {case.as_curl_command()[:500]}: {error}"[:1500])
            return
        if response.status_code >= 500:
            problems.append(f"{response.status_code} for {case.as_curl_command()[:500]}")
        elif response.status_code >= 400 and "message" not in response.json():
            problems.append(f"{response.status_code} without a message: {response.text[:200]}")

    with contextlib.suppress(Unsatisfiable):  # nothing can be wrong about a call without parameters
        send()
    return problems[0] if problems else ""


NAMES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["../../secret.txt", "/etc/passwd", "..\\..\\x", "a/../../b", "C:\\x", "%2e%2e/x", "\0", "x\n.nii", ".", "CON"]
    ),
)


def volume(tmp_path: Path) -> bytes:
    path = tmp_path / "tiny" / ".medcl" / "made-up.nii.gz"
    write_image(path, Image(np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5), Geometry((3, 4, 5))))
    content = path.read_bytes()
    path.unlink()
    return content


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(name=NAMES, file_name=NAMES, ending=st.sampled_from([".nii.gz", ".nii", ".nrrd", ".mha", ".dcm", ""]),
       data=st.data())  # fmt: skip
def test_uploads_never_break_the_server(
    client: TestClient, outside: Path, name: str, file_name: str, ending: str, data: Any
) -> None:
    good = volume(outside)
    content = data.draw(
        st.one_of(
            st.binary(max_size=2000),
            st.integers(0, len(good)).map(lambda n: good[:n]),
            st.integers(0, 400).map(lambda n: zlib_damage(good, n)),
            st.just(gzip.decompress(good)),
        )
    )
    files = {"file": (file_name + ending, io.BytesIO(content), "application/octet-stream")}
    answer = client.put(f"/monai/datastore/?image={quote(name, safe='')}", files=files)
    assert answer.status_code < 500, answer.text
    assert str(outside) not in answer.text
    files = {"label": (file_name + ending, io.BytesIO(content), "application/octet-stream")}
    answer = client.put("/monai/datastore/label?image=upright", files=files)
    assert answer.status_code < 500, answer.text
    assert str(outside) not in answer.text
    Dataset.open(outside / "tiny")  # the folder stays one
    assert list((outside / "tiny" / ".medcl" / "cache").glob("upload-*")) == []


def zlib_damage(content: bytes, place: int) -> bytes:
    """Return gzip bytes with one byte of the unpacked file changed."""
    raw = bytearray(gzip.decompress(content))
    raw[place % len(raw)] ^= 0xFF
    return gzip.compress(bytes(raw))


def test_small_files_that_unpack_to_large_ones_are_refused(
    client: TestClient, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 1 << 20)
    bomb = gzip.compress(b"\0" * (32 << 20), 9)
    assert len(bomb) < 1 << 16
    answer = client.put("/monai/datastore/?image=bomb", files={"file": ("bomb.nii.gz", bomb)})
    assert answer.status_code == 413
    header = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4096 4096 4096\nencoding: gzip\n"
    header += b"space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n"
    nrrd = header + gzip.compress(b"\0" * (1 << 16))
    answer = client.put("/monai/datastore/?image=bomb", files={"file": ("bomb.nrrd", nrrd)})
    assert answer.status_code in (413, 422)
    compressor = zlib.compressobj(9)
    dense = compressor.compress(b"\0" * (1 << 22)) + compressor.flush()
    head = b"ObjectType = Image\nNDims = 3\nDimSize = 8 8 8\nElementType = MET_UCHAR\nCompressedData = True\n"
    head += b"ElementSpacing = 1 1 1\nElementDataFile = LOCAL\n"
    answer = client.put("/monai/datastore/?image=bomb2", files={"file": ("bomb2.mha", head + dense)})
    assert answer.status_code in (200, 413, 422)
    answer = client.put("/monai/datastore/?image=big", content=b"x", headers={"content-length": str(3 << 30)})
    assert answer.status_code == 413
    assert not any("bomb." in path for path in tree(outside / "tiny" / "imagesTr"))
