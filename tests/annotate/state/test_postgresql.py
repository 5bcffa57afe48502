"""The same on a true PostgreSQL, where one is installed."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from annotate_tiny import TOKEN, make_dataset, serving
from sqlalchemy import delete, select

from medcl.annotate.app import create_app
from medcl.annotate.state.database import Database
from medcl.annotate.state.migrate import claim, migrate
from medcl.annotate.state.tables import Base, ProjectRow
from medcl.errors import DataError

pytestmark = pytest.mark.slow


def _program(name: str) -> str | None:
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(newest[-1]) if newest else shutil.which(name)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start a PostgreSQL of our own and return the address of a database in it."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed (pip install 'medcl[postgresql]')")
    initdb, control = _program("initdb"), _program("pg_ctl")
    if not initdb or not control:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    user = "postgres" if getpass.getuser() == "root" else None  # PostgreSQL refuses to run as root
    place = Path(tempfile.mkdtemp(prefix="medcl-pg-"))
    try:
        if user:
            shutil.chown(place, user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        run = {
            "user": user,
            "cwd": place,
            "check": True,
            "stdout": subprocess.DEVNULL,
            "env": {**os.environ, "LC_ALL": "C"},
        }
        subprocess.run([initdb, "-D", place / "data", "-A", "trust", "-U", "medcl", "-E", "UTF8"], **run)
        options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1"
        subprocess.run([control, "-D", place / "data", "-l", place / "log", "-o", options, "-w", "start"], **run)
        try:
            yield f"postgresql://medcl@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([control, "-D", place / "data", "-m", "fast", "-w", "stop"], **run)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_strokes_conflicts_and_events_of_a_team(server: str, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny", scribble=True)
    app = create_app(folder, token=TOKEN, database=server)
    with app.state.context.database.engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    results: list[int] = []

    def annotator(number: int) -> None:
        with serving_alone(app, f"person {number}") as client:
            for at in range(5):
                body = {"id": str(uuid4()), "base_version": 0, "value": 1, "runs": [100 * number + 10 * at, 5]}
                while (answer := client.post("/api/cases/upright/strokes", json=body)).status_code == 409:
                    assert answer.json()["overlaps"] is False
                    body["base_version"] = answer.json()["version"]
                results.append(answer.status_code)

    from contextlib import contextmanager

    @contextmanager
    def serving_alone(app, author):
        from fastapi.testclient import TestClient

        headers = {"Authorization": f"Bearer {TOKEN}", "X-Medcl-Author": author.replace(" ", "%20")}
        yield TestClient(app, base_url="http://127.0.0.1", headers=headers)

    with serving(app) as client:
        threads = [threading.Thread(target=annotator, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [200] * 20
        history = client.get("/api/cases/upright/strokes").json()
        assert [stroke["version"] for stroke in history["strokes"]] == list(range(1, 21))
        row = client.get("/api/cases/upright").json()
        assert (row["strokes"], row["drawn"]) == (20, {"1": 100})
        assert client.get("/api/project").json()["event"] >= 20
    assert (folder / "scribblesTr" / "upright.nii.gz").is_file()
    other = make_dataset(tmp_path / "other")
    with pytest.raises(DataError, match="another data set") as refused:
        create_app(other, token=TOKEN, database=server)
    assert "medcl@127.0.0.1" in str(refused.value)


def test_two_servers_that_first_open_it_together_agree(server: str, tmp_path: Path) -> None:
    database = Database(server)
    migrate(database)
    with database.session() as session:
        session.execute(delete(ProjectRow))
    barrier, problems = threading.Barrier(2), []

    def first() -> None:
        barrier.wait()
        try:
            claim(database, tmp_path / "id")
        except DataError as error:
            problems.append(str(error))

    threads = [threading.Thread(target=first) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with database.session() as session:
        (key,) = session.scalars(select(ProjectRow.key)).all()
        session.execute(delete(ProjectRow))
    database.close()
    assert (tmp_path / "id").read_text(encoding="ascii") == key


def test_a_server_that_is_not_there() -> None:
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed (pip install 'medcl[postgresql]')")
    with pytest.raises(DataError, match="cannot be used") as refused:
        migrate(Database("postgresql://medcl:secret@127.0.0.1:1/none"))
    assert "secret" not in str(refused.value)
