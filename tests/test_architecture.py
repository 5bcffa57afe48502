"""The rules of docs/architecture.md, checked: floors, circles, file length, imports without extras, what git tracks."""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "medcl"
FILES = sorted(SOURCE.rglob("*.py"))
# Rooms of one floor do not import each other, but for these (training validates by predicting and scoring).
NEIGHBOURS = {("training", "inference"), ("training", "evaluation")}
# Rooms that stand on an extra as a whole, with what it brings; importing the room itself needs nothing of it.
WITH_EXTRA = {"annotate": {"fastapi", "starlette", "sqlalchemy", "alembic", "httpx", "uvicorn"}}
NO_FILES = ("losses", "augment", "evaluation.metrics")  # these know nothing about files


def floors() -> dict[str, int]:
    """Return room -> floor from the table in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", text, flags=re.MULTILINE)
    return {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("medcl", *parts)).removesuffix(".__init__")


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@functools.cache
def imports(path: Path, *, lazy: bool) -> frozenset[str]:
    """Return the modules a file imports; with `lazy` also those inside functions. Type-checking blocks do not count."""
    return frozenset(_imports(ast.parse(path.read_text(encoding="utf-8")), module_name(path), lazy))


def _imports(node: ast.AST, module: str, lazy: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            continue
        if isinstance(child, ast.Import):
            yield from (name.name for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module}: relative import; write the full name"
            for name in child.names:
                full = f"{child.module}.{name.name}"
                yield full if full in modules() else str(child.module)
        else:
            yield from _imports(child, module, lazy)


@functools.cache
def modules() -> frozenset[str]:
    return frozenset(module_name(path) for path in FILES)


def test_every_room_has_a_floor() -> None:
    assert {room(m) for m in modules()} - {"", "__main__"} <= set(floors())


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_down_only(path: Path) -> None:
    floor, here = floors(), room(module_name(path))
    if here in ("", "__main__"):
        return  # the table of contents points into every room, by name
    for target in imports(path, lazy=True):
        there = room(target) if target.startswith("medcl.") else here
        if there in ("", here, "errors") or (here, there) in NEIGHBOURS:
            continue  # every room raises the same errors
        assert floor[there] > floor[here], (
            f"{module_name(path)} (floor {floor[here]}) imports {target} ({floor[there]})"
        )


def test_no_circles() -> None:
    graph = {module_name(path): {m for m in imports(path, lazy=False) if m in modules()} for path in FILES}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) == set(graph)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def test_tests_can_be_read_in_one_sitting() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path.name


@pytest.mark.parametrize("path", sorted((SOURCE / "data").rglob("*.py")), ids=module_name)
def test_data_knows_nothing_of_torch(path: Path) -> None:
    assert not {m.split(".")[0] for m in imports(path, lazy=True)} & {"torch", "monai", "lightning", "torchmetrics"}


def test_pure_functions_know_nothing_of_files() -> None:
    banned = {"pathlib", "os", "SimpleITK", "medcl.files", "medcl.data.io", "medcl.data.dataset"}
    for path in FILES:
        name = module_name(path).removeprefix("medcl.")
        if any(name == rule or name.startswith(f"{rule}.") for rule in NO_FILES):
            assert not imports(path, lazy=True) & banned, name


# --- dependencies ---


@functools.cache
def _installed() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _top_names(requirements: list[str]) -> set[str]:
    """Return the import names of requirements such as 'PyYAML>=6'."""
    distributions = {re.split(r"[<>=!~\[; ]", r)[0].lower().replace("_", "-") for r in requirements}
    names = {d.replace("-", "_") for d in distributions}
    for name, homes in _installed().items():
        if {h.lower().replace("_", "-") for h in homes} & distributions:
            names.add(name)
    return names


def _declared() -> tuple[set[str], set[str]]:
    """Return the import names that the core and the extras declare."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [r for group in project["optional-dependencies"].values() for r in group]
    return _top_names(project["dependencies"]), _top_names(extras)


def test_every_import_is_declared() -> None:
    core, extras = _declared()
    for path in FILES:
        for name in {m.split(".")[0] for m in imports(path, lazy=True)} - {"medcl"}:
            assert name in sys.stdlib_module_names or name in core | extras, f"{module_name(path)} imports {name}"
        given = WITH_EXTRA.get(room(module_name(path)), set())
        for name in {m.split(".")[0] for m in imports(path, lazy=False)}:
            assert name not in extras - core - given, f"{module_name(path)} imports {name} before it is asked for"


def test_rooms_with_an_extra_say_so_in_one_sentence() -> None:
    """The page's server and its client: FastAPI, SQLAlchemy, httpx."""
    code = """
import sys
sys.modules["fastapi"] = sys.modules["sqlalchemy"] = sys.modules["httpx"] = None
from medcl.errors import MissingExtraError
import medcl.annotate
for name in medcl.annotate.__all__:
    try:
        getattr(medcl.annotate, name)
    except MissingExtraError as error:
        assert "medcl[annotate]" in str(error), error
    else:
        raise AssertionError(name)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_core_dependency_is_used() -> None:
    used = {m.split(".")[0] for path in FILES for m in imports(path, lazy=True)}
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    unused = [r for r in requirements if not _top_names([r]) & used]
    assert unused == []


def test_every_module_imports_without_extras() -> None:
    core, extras = _declared()
    code = f"""
import importlib, sys
class Without:  # as if the extras were not installed: nobody finds them
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in {sorted(extras - core)!r}
        return None if hidden else self.finder.find_spec(name, path, target)
    def find_distributions(self, context):
        if (context.name or "").replace("-", "_") in {sorted(extras - core)!r}:
            return ()  # some packages look for others by their metadata
        return self.finder.find_distributions(context) if hasattr(self.finder, "find_distributions") else ()
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
for name in {sorted(m for m in modules() - {"medcl.__main__"} if room(m) not in WITH_EXTRA or m.count(".") == 1)!r}:
    importlib.import_module(name)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr[-2000:]


# --- what git tracks ---


@functools.cache
def tracked() -> tuple[Path, ...]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False, encoding="utf-8")
    if done.returncode:
        pytest.skip("not a git checkout: nothing to say about what is tracked")
    return tuple(ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file())


def test_no_machine_paths() -> None:
    roots = "|".join(("work", "root", "tmp", "mnt", r"home/\w+", r"Users/\w+"))
    pattern = re.compile(rf"(?<![\w.~])/({roots})/")
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".csv", ".html"} or not path.suffix:
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{path.relative_to(ROOT)}: {found and found.group()}"


def test_no_images_or_weights_are_tracked() -> None:
    banned = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm", ".tif", ".tiff", ".npy", ".npz", ".h5", ".pt", ".pth",
              ".ckpt", ".safetensors", ".onnx", ".zip", ".jpg", ".jpeg")  # fmt: skip
    for path in tracked():
        assert not path.name.lower().endswith(banned), path
        if path.suffix == ".png":  # pictures of phantoms only, made by a command
            assert path.parent == ROOT / "docs" / "images", path
        built = SOURCE / "annotate" / "page" in path.parents  # with the viewer inside; `make web` writes it
        assert path.stat().st_size <= (1_500_000 if built else 500_000), path


def _without_encoding(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or {"encoding", None} & {keyword.arg for keyword in node.keywords}:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = {keyword.arg for keyword in node.keywords}
        whole_file = (name == "read_text" and not node.args) or (name == "write_text" and len(node.args) == 1)
        if whole_file or (name in ("run", "Popen", "check_output") and "text" in named):
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {name}"


def test_texts_do_not_depend_on_the_locale() -> None:
    # SimpleITK's writer of DICOM sets the locale of the whole process to C, where only ASCII can be read.
    roots = (SOURCE, ROOT / "tests", ROOT / "benchmarks")
    assert [found for root in roots for path in root.rglob("*.py") for found in _without_encoding(path)] == []
