"""The table of contents of medcl: what `import medcl` offers and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import medcl


def test_every_public_name_loads() -> None:
    for name in medcl.__all__:
        assert getattr(medcl, name) is not None


def test_public_names_have_docstrings() -> None:
    for name in medcl.__all__:
        if name != "__version__":
            assert (getattr(medcl, name).__doc__ or "").strip(), name


def test_unknown_name_lists_the_public_ones() -> None:
    with pytest.raises(AttributeError, match="public names: init_dataset, import_dataset, check"):
        _ = medcl.no_such_thing


def test_dir_offers_all_public_names() -> None:
    assert set(medcl.__all__) <= set(dir(medcl))


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, medcl; print([m for m in ('torch', 'numpy', 'pydantic', 'SimpleITK') if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout
    assert output.strip() == "[]"
