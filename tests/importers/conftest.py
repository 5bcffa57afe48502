"""Makes the builders of trees importable beside the tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("importer_trees", Path(__file__).with_name("trees.py"))
assert _spec is not None
assert _spec.loader is not None
sys.modules["importer_trees"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["importer_trees"])
