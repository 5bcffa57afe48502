from __future__ import annotations

import platform

import pytest

import medcl
from medcl.evaluation.provenance import machine, versions


def test_versions_name_medcl_python_and_what_is_installed() -> None:
    found = versions()
    assert found["medcl"] == medcl.__version__
    assert found["python"] == platform.python_version()
    assert found["numpy"] == __import__("numpy").__version__


def test_machine_names_the_processor_but_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "somebody-unusual")
    monkeypatch.setenv("LOGNAME", "somebody-unusual")
    monkeypatch.setenv("HOME", "/home-of-somebody-unusual")
    monkeypatch.setattr(platform, "node", lambda: "host-of-somebody-unusual")
    facts = machine()
    assert facts["processor"]
    assert int(facts["cores"]) >= 1
    text = " ".join(facts.values())
    assert "unusual" not in text
