from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medcl.cli import app as commands
from medcl.data.geometry import Geometry, Image
from medcl.data.io import write_image
from medcl.files import write_json

TOKEN = "a-token-for-tests"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    image = Image(np.ones((1, 2, 8, 9), np.int16), Geometry((2, 8, 9)))
    write_image(folder / "imagesTr" / "a_0000.nii.gz", image)
    write_json(folder / "dataset.json", {"labels": {"background": 0, "organ": 1, "ignore": 2}})
    return folder


def start(*options: str) -> tuple[subprocess.Popen[str], str, str]:
    """Start the command and return the process, what it printed and the address."""
    command = [sys.executable, "-m", "medcl", "annotate", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "PYTHONUNBUFFERED": "1"}, encoding="utf-8")  # fmt: skip
    assert process.stdout is not None
    printed = ""
    while "Ctrl-C" not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line
    found = re.search(r"http://\S+", printed)
    assert found
    return process, printed, found.group()


def test_from_the_printed_address_to_a_stroke_on_the_disk(folder: Path) -> None:
    from medcl.annotate import Client

    process, _, address = start(str(folder), "--no-browser", "--author", "Anna")
    try:
        assert address.startswith("http://127.0.0.1:")
        with Client(address) as client:
            where = np.zeros((2, 8, 9), bool)
            where[1, 2, 3:6] = True
            (saved,) = client.draw("a", where, 1)
            assert saved.stroke.author == "Anna"
            events = client.events(after=0)
            assert next(events).case == "a"  # a stream that stays open
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=60)[0]
            events.close()
        assert process.returncode == 0, rest
        assert "Traceback" not in rest
        assert address.rpartition("=")[2] not in rest
    finally:
        process.kill()
    assert (folder / "scribblesTr" / "a.nii.gz").is_file()


def test_killed_at_once_nothing_is_lost(folder: Path) -> None:
    from medcl.annotate import Client, create_app

    process, _, address = start(str(folder), "--no-browser", "--token", TOKEN)
    try:
        with Client(address) as client:
            client.draw("a", np.ones((2, 8, 9), bool), 1)
    finally:
        process.kill()
        process.communicate()
    context = create_app(folder, token=TOKEN).state.context
    assert (context.strokes(context.case("a")) == 1).all()


def run(*options: str) -> Any:
    return CliRunner().invoke(commands, ["annotate", *options])


def test_bad_input_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for options, word in (
        ((str(tmp_path / "nowhere"),), "found nothing"),
        ((str(tmp_path / "empty"),), "no images"),
        ((str(folder), "--token", "short"), "at least 16"),
        ((str(folder), "--database", "oracle://x"), "--database: expected"),
        ((str(folder), "--scribbles", "nobody"), "no scribble folder 'nobody'"),
        ((str(folder), "--host", "no.such.host.invalid"), "cannot listen"),
    ):
        result = run(*options, "--no-browser")
        assert result.exit_code == 1, result.output
        assert word in result.output
        assert result.output.count("\n") == 1, result.output


def test_a_port_that_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medcl.cli import annotate

    served: list[int] = []
    monkeypatch.setattr(annotate, "_serve", lambda app, listening, _: served.append(listening.getsockname()[1]))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run(str(folder), "--port", str(port), "--no-browser")
        assert (result.exit_code, f"port {port}" in result.output) == (1, True)
        monkeypatch.setattr("medcl.annotate.server.PORT", port)
        result = run(str(folder), "--no-browser")  # not asked for: a free one will do
        assert result.exit_code == 0
        assert served
        assert served[0] != port
        assert f":{served[0]}/?token=" in result.output


def test_other_hosts_come_with_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medcl.cli import annotate

    monkeypatch.setattr(annotate, "_serve", lambda *_: None)
    assert "Warning" not in run(str(folder), "--no-browser").output
    result = run(str(folder), "--no-browser", "--host", "0.0.0.0")
    assert "sent unencrypted" in result.output
    assert f"http://{socket.gethostname()}:" in result.output


def test_the_browser_is_opened_once_the_server_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medcl.cli import annotate

    asked: list[str | None] = []
    monkeypatch.setattr(annotate, "_serve", lambda app, listening, address: asked.append(address))
    run(str(folder), "--token", TOKEN)
    run(str(folder), "--token", TOKEN, "--no-browser")
    assert asked[0] is not None
    assert asked[0].endswith(f"?token={TOKEN}")
    assert asked[1] is None
