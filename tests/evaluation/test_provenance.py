from __future__ import annotations

import getpass
import platform
from pathlib import Path

import medcl
from medcl.evaluation.provenance import machine, versions


def test_versions_name_medcl_python_and_what_is_installed() -> None:
    found = versions()
    assert found["medcl"] == medcl.__version__
    assert found["python"] == platform.python_version()
    assert found["numpy"] == __import__("numpy").__version__


def test_machine_names_the_processor_but_nobody() -> None:
    facts = machine()
    assert facts["processor"]
    assert int(facts["cores"]) >= 1
    text = " ".join(facts.values())
    for name in (platform.node(), str(Path.home())):
        assert name not in text
    assert getpass.getuser() not in text.split()
